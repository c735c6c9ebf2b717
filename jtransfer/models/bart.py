"""BART (Lewis et al. 2020, arXiv:1910.13461), mBART (arXiv:2001.08210) and Marian's translators (arXiv:1804.00344)."""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jtransfer import layers
from jtransfer.core.errors import unknown
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.layers.sinusoid import sinusoid
from jtransfer.models.chain import Tied
from jtransfer.models.seq2seq import Norm, Places, Seq2Seq, open_decoder, open_encoder
from jtransfer.models.text import Stream

UNUSED = 2  # rows before the first of the learned positions, kept as the public files have them


class Positioned(nn.Module):
    """What makes the input of the first layer from token embeddings: positions, a norm if wanted, dropout.

    Attributes:
      max_length: number of positions.
      learned: whether they are parameters, or sines and cosines.
      norm: constructor of the norm; None for no norm.
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
        return nn.Dropout(self.dropout)(x, deterministic=not train)


class Embed(nn.Module):
    """Token embeddings times `scale`, with positions.

    Attributes:
      max_length: number of positions.
      place: constructor of `Positioned`.
    """

    vocab_size: int
    width: int
    max_length: int
    scale: float
    place: Callable[..., nn.Module]
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        init = nn.initializers.normal(self.width**-0.5)
        self.tokens = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=init)
        self.placed = self.place()
        nn.share_scope(self, self.placed)

    def __call__(self, inputs: dict[str, Array], *, train: bool = False) -> Stream:
        stream = open_encoder(inputs, self.max_length)
        positions = jnp.arange(inputs["input_ids"].shape[1])[None]
        return {"x": self.placed(self.scaled(inputs["input_ids"]), positions, train=train), **stream}

    def scaled(self, ids: Int[Array, "b n"]) -> Float[Array, "b n d"]:
        """The embeddings without positions."""
        return self.tokens(ids) * jnp.asarray(self.scale, self.dtype)


class DecoderEmbed(nn.Module):
    """The same token embeddings with the decoder's own positions, by default those after what the cache has."""

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
    """Attention, in the decoder also to what the encoder gave, and a network, each beside a residual.

    Attributes:
      attention, norm: constructors.
      decoder: which of the two it is of.
      pre_norm: norms come before each part, in place of after its residual.
      mlp_dim: features inside of the network.
      activation: of the network, one of `ACTIVATIONS`.
      dropout, mlp_dropout: rates of what is dropped of what is added, and inside of the network.
    """

    attention: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    decoder: bool
    pre_norm: bool
    mlp_dim: int
    activation: str
    dropout: float
    mlp_dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())

        def drop(y, rate):
            return nn.Dropout(rate)(y, deterministic=not train)

        def beside(x, name, part):
            norm = self.norm(name=name)
            y = x + drop(part(norm(x) if self.pre_norm else x), self.dropout)
            return y if self.pre_norm else norm(y)

        def itself(y):
            return self.attention(causal=self.decoder, name="attention")(y, mask=stream["mask"], train=train)

        def across(y):
            return self.attention(name="cross")(y, stream["encoded"], mask=stream["encoded_mask"], train=train)

        def network(y):
            y = ACTIVATIONS[self.activation](dense(self.mlp_dim, name="fc1")(y))
            return dense(stream["x"].shape[-1], name="fc2")(drop(y, self.mlp_dropout))

        x = beside(stream["x"], "norm1", itself)
        x = beside(x, "cross_norm", across) if self.decoder else x
        return {**stream, "x": beside(x, "norm2", network)}


class Head(nn.Module):
    """The logits of each next token, float32: products with the token embeddings, plus `bias` [vocab_size]."""

    embed: Embed
    vocab_size: int

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b k v"]:
        bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
        return self.embed.tokens.attend(stream["x"]).astype(jnp.float32) + bias


class Bart(Seq2Seq):
    """embed → encoder_0 … → decoder_embed → decoder_0 … → head; with `pre_norm` also "encoder_norm" and "decoder_norm".

    Fields beside those of `Seq2Seq`:

    Attributes:
      max_length: number of positions.
      num_heads, mlp_dim: of the layers; `decoder_num_heads`, `decoder_mlp_dim`, those of the decoder, None is as many.
      activation, mlp_dropout, pre_norm: see `Layer`.
      eps: of the norms.
      scaled: token embeddings are multiplied by the square root of the width.
      learned_positions, embedding_norm: see `Positioned`.
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
            attention = partial(layers.Attention, num_heads, self.dtype, dropout=self.attention_dropout)
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
