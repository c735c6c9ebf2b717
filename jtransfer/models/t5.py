"""T5, T5 1.1, mT5 and FLAN-T5.

References:
  Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, arXiv:1910.10683,
  2019. Xue et al., mT5, arXiv:2010.11934, 2020. Chung et al., Scaling Instruction-Finetuned Language Models,
  arXiv:2210.11416, 2022.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.core.errors import unknown
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.relative import RelativeBias
from jtransfer.layers.rms_norm import RMSNorm
from jtransfer.layers.tied_embed import TiedEmbed
from jtransfer.layers.types import Array, DType
from jtransfer.models import text
from jtransfer.models.chain import Tied
from jtransfer.models.head import Embedding
from jtransfer.models.seq2seq import Norm, Places, Seq2Seq, open_decoder, open_encoder
from jtransfer.models.text import Stream
from jtransfer.models.text_head import Classify, Pool

HEADS = ("lm", "embed", "classify", "tag")
_init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_gelu = partial(nn.gelu, approximate=True)


def _for_each(x: Float[Array, "b n d"], bias: Float[Array, "1 h q m"]) -> Float[Array, "b h q m"]:
    """Repeats a bias for each text, as everything that passes between stages has the axis of the batch."""
    return jnp.broadcast_to(bias, (x.shape[0], *bias.shape[1:]))


class Embed(nn.Module):
    """Embeds the tokens of the encoder, and makes the bias of its attention; there are no other positions.

    Attributes:
      vocab_size: The number of tokens.
      width: The number of features.
      bias: The constructor of the bias.
      dropout: The rate in training.
      dtype: The dtype of the computation.
    """

    vocab_size: int
    width: int
    bias: Callable[..., nn.Module]
    dropout: float
    dtype: DType = jnp.float32

    def setup(self):
        init = nn.initializers.normal(1.0)
        self.tokens = TiedEmbed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=init)
        self.relative = self.bias()
        self.drop = Dropout(self.dropout)

    def __call__(self, inputs: text.Inputs, *, train: bool = False) -> Stream:
        stream, n = open_encoder(inputs), inputs["input_ids"].shape[1]
        x = self.drop(self.tokens(inputs["input_ids"]), deterministic=not train)
        return {"x": x, "bias": _for_each(x, self.relative(n, n)), **stream}


class DecoderEmbed(nn.Module):
    """Embeds the tokens of the decoder, and makes the bias of its attention to itself.

    Attributes:
      embed: The stage whose `tokens` are the embeddings.
      bias: The constructor of the bias.
      dropout: The rate in training.
    """

    embed: Embed
    bias: Callable[..., nn.Module]
    dropout: float

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        ids, stream = open_decoder(stream)
        x = Dropout(self.dropout)(self.embed.tokens(ids), deterministic=not train)
        n = ids.shape[1]
        bias = self.bias(name="relative")(n, stream["mask"].shape[-1], Places(name="places")(n))
        return {"x": x, "bias": _for_each(x, bias), **stream}


class Layer(nn.Module):
    """Attention, in a decoder also to the output of the encoder, and a network; each after a norm, with a residual.

    Attributes:
      attention: The constructor of the attention.
      norm: The constructor of the norms.
      decoder: Whether the layer is one of the decoder.
      mlp_dim: The number of features inside the network.
      gated: Whether its activation is a gated GELU, and not a ReLU.
      dropout: The rate in training inside the network, and of what is added to the residual.
      dtype: The dtype of the computation.
    """

    attention: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    decoder: bool
    mlp_dim: int
    gated: bool
    dropout: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        def drop(y):
            return Dropout(self.dropout)(y, deterministic=not train)

        def dense(features, name, y):
            return nn.Dense(features, False, self.dtype, kernel_init=_init, name=name)(y)

        x = stream["x"]
        attention = self.attention(causal=self.decoder, name="attention")
        y = self.norm(name="norm1")(x)
        x = x + drop(attention(y, mask=stream["mask"], bias=stream["bias"], train=train))
        if self.decoder:
            y = self.norm(name="cross_norm")(x)
            x = x + drop(self.attention(name="cross")(y, stream["encoded"], mask=stream["encoded_mask"], train=train))
        y = self.norm(name="norm2")(x)
        if self.gated:
            y = _gelu(dense(self.mlp_dim, "gate", y)) * dense(self.mlp_dim, "up", y)
        else:
            y = nn.relu(dense(self.mlp_dim, "up", y))
        return {**stream, "x": x + drop(dense(x.shape[-1], "down", drop(y)))}


class Head(nn.Module):
    """The logits of the token after each one, float32.

    Attributes:
      vocab_size: The number of tokens.
      scaled: Whether the features are divided by the square root of their number first.
      dtype: The dtype of the computation.
      embed: The stage whose `tokens` are the kernel; None means that the head has a kernel of its own.
    """

    vocab_size: int
    scaled: bool
    dtype: DType = jnp.float32
    embed: Embed | None = None

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b k v"]:
        x = stream["x"]
        x = x * x.shape[-1] ** -0.5 if self.scaled else x
        if self.embed is not None:
            return self.embed.tokens.attend(x).astype(jnp.float32)
        return nn.Dense(self.vocab_size, False, self.dtype, kernel_init=_init, name="dense")(x).astype(jnp.float32)


class T5(Seq2Seq):
    """T5, a chain of the stages of `Seq2Seq` with "encoder_norm" and "decoder_norm", or its encoder alone.

    The encoder alone is the chain embed → encoder_0 … → encoder_norm → pool → head.

    Attributes, beside those of `Seq2Seq`:
      num_classes: The number of classes of "classify" and "tag"; other heads do not use it.
      head: "lm", encoder and decoder, as in `Seq2Seq`. Or the encoder alone, which gives, float32: "embed", the mean of
        each text, divided by its length [batch, width]; "classify", the logits of each text from its mean [batch,
        num_classes]; or "tag", the logits of each token [batch, n, num_classes].
      num_heads: The number of attention heads.
      head_dim: The number of features of a head.
      mlp_dim: The number of features inside the networks of the layers.
      eps: Added to the mean square in the norms.
      num_buckets: The number of buckets of relative positions, see `layers.relative`.
      max_distance: The distance from which relative positions share a bucket, see `layers.relative`.
      gated: Whether the networks have a gated GELU and not a ReLU; all but the first T5 do.
      tied: Whether the token embeddings are the kernel of the head; they are in the first T5.
      scaled: Whether features are divided by √width before the head; they are in the first T5.
    """

    attention_dropout: float = 0.1
    start: int | None = 0
    head: str = "lm"
    num_heads: int = 8
    head_dim: int = 64
    mlp_dim: int = 2048
    eps: float = 1e-6
    num_buckets: int = 32
    max_distance: int = 128
    gated: bool = False
    tied: bool = True
    scaled: bool = True

    def example_input(self, batch: int = 1) -> dict[str, Array]:
        """Texts of 8 tokens, all zeros."""
        return super().example_input(batch) if self.head == "lm" else text.example_input(batch)

    def parts(self):
        if self.head not in HEADS:
            raise unknown("head", self.head, HEADS)
        norm = partial(RMSNorm, self.eps, dtype=self.dtype)
        attention = partial(
            layers.Attention,
            self.num_heads,
            self.dtype,
            head_dim=self.head_dim,
            use_bias=False,
            scale=1.0,
            dropout=self.attention_dropout,
            kernel=self.attention_kernel,
            kernel_init=_init,
            query_init=nn.initializers.variance_scaling(1 / self.head_dim, "fan_in", "normal"),
        )
        bias = partial(RelativeBias, self.num_heads, self.num_buckets, self.max_distance)

        network = {"mlp_dim": self.mlp_dim, "gated": self.gated, "dropout": self.dropout, "dtype": self.dtype}
        layer, end = partial(Layer, attention, norm, **network), partial(Norm, norm, self.dropout)
        return {
            "embed": partial(Embed, self.vocab_size, self.width, bias, self.dropout, self.dtype),
            **{f"encoder_{i}": partial(layer, decoder=False) for i in range(self.depth)},
            "encoder_norm": end,
            **(self._decoder(layer, end, bias) if self.head == "lm" else self._pooled()),
        }

    def _decoder(self, layer, end, bias):
        """The stages after those of the encoder."""
        embed = partial(DecoderEmbed, bias=partial(bias, both_ways=False), dropout=self.dropout)
        head = partial(Head, self.vocab_size, self.scaled, self.dtype)
        return {
            "decoder_embed": Tied(embed, "embed"),
            **{f"decoder_{i}": partial(layer, decoder=True) for i in range(self.decoder_depth or self.depth)},
            "decoder_norm": end,
            "head": Tied(head, "embed") if self.tied else head,
        }

    def _pooled(self):
        """The stages after an encoder alone."""
        classify = partial(Classify, self.num_classes, self.dropout, dtype=self.dtype)
        return {
            "pool": partial(Pool, "tokens" if self.head == "tag" else "mean"),
            "head": Embedding if self.head == "embed" else classify,
        }


_LATER = {"gated": True, "tied": False, "scaled": False}
_SIZES = {  # of T5; (width, depth, num_heads, head_dim, mlp_dim)
    "small": (512, 6, 8, 64, 2048),
    "base": (768, 12, 12, 64, 3072),
    "large": (1024, 24, 16, 64, 4096),
    "3b": (1024, 24, 32, 128, 16384),
    "11b": (1024, 24, 128, 128, 65536),
}
_LATER_SIZES = {  # of T5 1.1, FLAN-T5 and mT5
    "small": (512, 8, 6, 64, 1024),
    "base": (768, 12, 12, 64, 2048),
    "large": (1024, 24, 16, 64, 2816),
    "xl": (2048, 24, 32, 64, 5120),
    "xxl": (4096, 24, 64, 64, 10240),
}


def _sized(sizes: tuple[int, ...], **fields) -> partial:
    return partial(
        T5, **dict(zip(("width", "depth", "num_heads", "head_dim", "mlp_dim"), sizes, strict=True)), **fields
    )


MODELS = {
    **{f"t5_{size}": _sized(sizes) for size, sizes in _SIZES.items()},
    **{f"flan_t5_{size}": _sized(sizes, **_LATER) for size, sizes in _LATER_SIZES.items()},
    **{f"mt5_{size}": _sized(sizes, **_LATER, vocab_size=250112) for size, sizes in _LATER_SIZES.items()},
}
