"""BART, mBART and the translators of Marian.

References:
  Lewis et al., BART: Denoising Sequence-to-Sequence Pre-training, arXiv:1910.13461, 2019.
  Liu et al., Multilingual Denoising Pre-training for Neural Machine Translation, arXiv:2001.08210, 2020.
  Junczys-Dowmunt et al., Marian: Fast Neural Machine Translation in C++, arXiv:1804.00344, 2018.
"""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from jtransfer import layers
from jtransfer.core.errors import unknown
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.seen import padding
from jtransfer.layers.sinusoid import sinusoid
from jtransfer.layers.tied_embed import TiedEmbed
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import Tied
from jtransfer.models.seq2seq import Norm, Places, Seq2Seq, open_decoder, open_encoder
from jtransfer.models.text import Inputs, Stream

UNUSED = 2  # rows before the first of the learned positions, kept as the public files have them


class Positioned(nn.Module):
    """Adds position embeddings to token embeddings, followed by a norm if there is one, and by dropout.

    Attributes:
      max_length: The number of positions.
      learned: Whether positions are parameters, and not sines and cosines.
      norm: The constructor of the norm; None means that there is none.
      dropout: The rate in training.
    """

    max_length: int
    learned: bool
    norm: Callable[..., nn.Module] | None
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], positions: Int[Array, "#b n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        if self.learned:
            init = nn.initializers.normal(0.02)
            table = self.param("positions", init, (self.max_length + UNUSED, x.shape[-1]))[UNUSED:]
        else:
            table = jnp.asarray(sinusoid(self.max_length, x.shape[-1]))
        x = x + table[positions].astype(x.dtype)
        x = x if self.norm is None else self.norm(name="norm")(x)
        return Dropout(self.dropout)(x, deterministic=not train)


class Embed(nn.Module):
    """Embeds the tokens of the encoder and their positions.

    Attributes:
      vocab_size: The number of tokens.
      width: The number of features.
      max_length: The number of positions.
      scale: The factor of the token embeddings.
      place: The constructor of `Positioned`.
      dtype: The dtype of the computation.
    """

    vocab_size: int
    width: int
    max_length: int
    scale: float
    place: Callable[..., nn.Module]
    dtype: DType = jnp.float32

    def setup(self):
        init = nn.initializers.normal(self.width**-0.5)
        self.tokens = TiedEmbed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=init)
        self.placed = self.place()
        nn.share_scope(self, self.placed)

    def __call__(self, inputs: Inputs, *, train: bool = False) -> Stream:
        stream = open_encoder(inputs, self.max_length)
        positions = jnp.arange(inputs["input_ids"].shape[1])[None]
        return {"x": self.placed(self.scaled(inputs["input_ids"]), positions, train=train), **stream}

    def scaled(self, ids: Int[Array, "b n"]) -> Float[Array, "b n d"]:
        """The embeddings of tokens, without positions."""
        return self.tokens(ids) * jnp.asarray(self.scale, self.dtype)


class DecoderEmbed(nn.Module):
    """Embeds the tokens of the decoder and their positions, by default those after the tokens in the cache.

    Attributes:
      embed: The stage whose token embeddings are used.
      max_length: The number of positions.
      place: The constructor of `Positioned`.
    """

    embed: Embed
    max_length: int
    place: Callable[..., nn.Module]

    def setup(self):
        self.placed = self.place()
        self.places = Places()
        nn.share_scope(self, self.placed)

    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        positions = stream.get("decoder_position_ids")
        ids, stream = open_decoder(stream, self.max_length)
        places = self.places(ids.shape[1]) + jnp.arange(ids.shape[1])[None]
        positions = places if positions is None else positions
        return {"x": self.placed(self.embed.scaled(ids), positions, train=train), **stream}


class Layer(nn.Module):
    """Attention, in a decoder also to the output of the encoder, and a network, each with a residual and a norm.

    Attributes:
      attention: The constructor of the attention.
      norm: The constructor of the norms.
      decoder: Whether the layer is one of the decoder.
      pre_norm: Whether norms come before each part, and not after its residual.
      mlp_dim: The number of features inside the network.
      activation: The activation of the network, a name in `layers.activation.ACTIVATIONS`.
      dropout: The rate in training of what is added to the residual.
      mlp_dropout: The rate in training inside the network.
      dtype: The dtype of the computation.
    """

    attention: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    decoder: bool
    pre_norm: bool
    mlp_dim: int
    activation: str
    dropout: float
    mlp_dropout: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())

        def drop(y, rate):
            return Dropout(rate)(y, deterministic=not train)

        def beside(x, name, part):
            norm = self.norm(name=name)
            y = x + drop(part(norm(x) if self.pre_norm else x), self.dropout)
            return y if self.pre_norm else norm(y)

        def itself(y):
            return self.attention(causal=self.decoder, name="attention")(y, **padding(stream), train=train)

        def across(y):
            return self.attention(name="cross")(y, stream["encoded"], **padding(stream, "encoded_"), train=train)

        def network(y):
            y = ACTIVATIONS[self.activation](dense(self.mlp_dim, name="fc1")(y))
            return dense(stream["x"].shape[-1], name="fc2")(drop(y, self.mlp_dropout))

        x = beside(stream["x"], "norm1", itself)
        x = beside(x, "cross_norm", across) if self.decoder else x
        return {**stream, "x": beside(x, "norm2", network)}


class Head(nn.Module):
    """The logits of the token after each one, float32: products with the token embeddings, plus `bias` [vocab_size].

    Attributes:
      embed: The stage whose `tokens` are the embeddings.
      vocab_size: The number of tokens.
    """

    embed: Embed
    vocab_size: int

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b k v"]:
        bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
        return self.embed.tokens.attend(stream["x"]).astype(jnp.float32) + bias


class Bart(Seq2Seq):
    """BART, a chain of the stages of `Seq2Seq`; with `pre_norm` also "encoder_norm" and "decoder_norm".

    Attributes, beside those of `Seq2Seq`:
      max_length: The number of positions.
      num_heads: The number of attention heads of the encoder.
      decoder_num_heads: That of the decoder; None means `num_heads`.
      mlp_dim: The number of features inside the networks of the encoder.
      decoder_mlp_dim: That of the decoder; None means `mlp_dim`.
      activation: The activation of the networks, a name in `layers.activation.ACTIVATIONS`.
      mlp_dropout: The rate of dropout in training inside the networks.
      eps: Added to the variance in the layer norms.
      pre_norm: Whether norms come before each part of a layer, and not after its residual (mBART).
      scaled: Whether token embeddings are multiplied by √width.
      learned_positions: Whether positions are parameters, and not sines and cosines (Marian).
      embedding_norm: Whether the embeddings are normalised.
    """

    vocab_size: int = 50265
    width: int = 1024
    depth: int = 12
    pad: int = 1
    start: int | None = 2
    end: int = 2
    max_length: int = 1024
    num_heads: int = 16
    decoder_num_heads: int | None = None
    mlp_dim: int = 4096
    decoder_mlp_dim: int | None = None
    activation: str = "gelu"
    mlp_dropout: float = 0.0
    eps: float = 1e-5
    pre_norm: bool = False
    scaled: bool = False
    learned_positions: bool = True
    embedding_norm: bool = True

    def parts(self):
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        norm = partial(layers.LayerNorm, self.eps, dtype=self.dtype)
        start = norm if self.embedding_norm else None
        place = partial(Positioned, self.max_length, self.learned_positions, start, self.dropout)
        scale = math.sqrt(self.width) if self.scaled else 1.0
        tokens = (self.vocab_size, self.width, self.max_length, scale, place, self.dtype)

        def layer(decoder, num_heads, mlp_dim):
            kernel = {"dropout": self.attention_dropout, "kernel": self.attention_kernel}
            attention = partial(layers.Attention, num_heads, self.dtype, **kernel)
            network = (mlp_dim, self.activation, self.dropout, self.mlp_dropout)
            return partial(Layer, attention, norm, decoder, self.pre_norm, *network, self.dtype)

        encoder = layer(False, self.num_heads, self.mlp_dim)
        decoder = layer(True, self.decoder_num_heads or self.num_heads, self.decoder_mlp_dim or self.mlp_dim)
        end = partial(Norm, norm)
        return {
            "embed": partial(Embed, *tokens),
            **{f"encoder_{i}": encoder for i in range(self.depth)},
            **({"encoder_norm": end} if self.pre_norm else {}),
            "decoder_embed": Tied(partial(DecoderEmbed, max_length=self.max_length, place=place), "embed"),
            **{f"decoder_{i}": decoder for i in range(self.decoder_depth or self.depth)},
            **({"decoder_norm": end} if self.pre_norm else {}),
            "head": Tied(partial(Head, vocab_size=self.vocab_size), "embed"),
        }


_BASE = {"width": 768, "depth": 6, "num_heads": 12, "mlp_dim": 3072}
_MBART = {"pre_norm": True, "scaled": True, "start": None}
_MARIAN = {
    "vocab_size": 58101,
    "max_length": 512,
    "width": 512,
    "depth": 6,
    "num_heads": 8,
    "mlp_dim": 2048,
    "activation": "silu",
    "scaled": True,
    "learned_positions": False,
    "embedding_norm": False,
    "pad": 58100,
    "start": 58100,
    "end": 0,
}

MODELS = {
    "bart_base": partial(Bart, **_BASE),
    "bart_large": partial(Bart),
    "distilbart_12_6": partial(Bart, decoder_depth=6),
    "mbart_large": partial(Bart, **_MBART, vocab_size=250027),
    "mbart_large_50": partial(Bart, **_MBART, vocab_size=250054),
    "marian": partial(Bart, **_MARIAN),
}
