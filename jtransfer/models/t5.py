"""T5 (Raffel et al. 2020, arXiv:1910.10683), T5 1.1, mT5 (arXiv:2010.11934) and FLAN-T5 (arXiv:2210.11416)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer import layers
from jtransfer.core.errors import unknown
from jtransfer.layers.relative import RelativeBias
from jtransfer.layers.rms_norm import RMSNorm
from jtransfer.models import text
from jtransfer.models.chain import Tied
from jtransfer.models.seq2seq import Norm, Places, Seq2Seq, open_decoder, open_encoder
from jtransfer.models.text import Stream

HEADS = ("lm", "embed", "classify", "tag")
_init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_gelu = partial(nn.gelu, approximate=True)


def _for_each(x: Float[Array, "b n d"], bias: Float[Array, "1 h q m"]) -> Float[Array, "b h q m"]:
    """The bias for each text, as all that passes between stages has the batch's axis."""
    return jnp.broadcast_to(bias, (x.shape[0], *bias.shape[1:]))


class Embed(nn.Module):
    """Token embeddings, and the bias of the encoder's attention; there are no other positions."""

    vocab_size: int
    width: int
    bias: Callable[..., nn.Module]
    dropout: float
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        init = nn.initializers.normal(1.0)
        self.tokens = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=init)
        self.relative = self.bias()
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, inputs: dict[str, Array], *, train: bool = False) -> Stream:
        stream, n = open_encoder(inputs), inputs["input_ids"].shape[1]
        x = self.drop(self.tokens(inputs["input_ids"]), deterministic=not train)
        return {"x": x, "bias": _for_each(x, self.relative(n, n)), **stream}


class DecoderEmbed(nn.Module):
    """The same token embeddings, and the bias of the decoder's attention to itself."""

    embed: Embed
    bias: Callable[..., nn.Module]
    dropout: float

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        ids, stream = open_decoder(stream)
        x = nn.Dropout(self.dropout)(self.embed.tokens(ids), deterministic=not train)
        n = ids.shape[1]
        bias = self.bias(name="relative")(n, stream["mask"].shape[-1], Places(name="places")(n))
        return {"x": x, "bias": _for_each(x, bias), **stream}


class Layer(nn.Module):
    """Attention, in the decoder also to what the encoder gave, and a network, each after a norm, beside a residual.

    Attributes:
      attention, norm: constructors.
      decoder: which of the two it is of.
      mlp_dim: features inside of the network.
      gated: its activation is a GELU with a gate, in place of a ReLU.
      dropout: rate of what is dropped inside of the network and of what is added.
    """

    attention: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    decoder: bool
    mlp_dim: int
    gated: bool
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        def drop(y):
            return nn.Dropout(self.dropout)(y, deterministic=not train)

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
    """The logits of each next token, float32.

    Attributes:
      scaled: the features are divided by the square root of their number before.
      embed: the stage whose token embeddings are the kernel; without, there is one of its own.
    """

    vocab_size: int
    scaled: bool
    dtype: jnp.dtype = jnp.float32
    embed: Embed | None = None

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b k v"]:
        x = stream["x"]
        x = x * x.shape[-1] ** -0.5 if self.scaled else x
        if self.embed is not None:
            return self.embed.tokens.attend(x).astype(jnp.float32)
        return nn.Dense(self.vocab_size, False, self.dtype, kernel_init=_init, name="dense")(x).astype(jnp.float32)


class T5(Seq2Seq):
    """embed → encoder_0 … → encoder_norm → decoder_embed → decoder_0 … → decoder_norm → head, or the encoder alone,
    embed → encoder_0 … → encoder_norm → pool → head; fields beside those of `Seq2Seq`:

    Attributes:
      num_classes: of "classify" and "tag"; without meaning for other heads.
      head: "lm", as in `Seq2Seq`; of the encoder alone, from the mean over a text, "embed", its embedding [b, width] of
        length 1, or "classify", its logits [b, num_classes]; or "tag", those of each token. All float32.
      num_heads, head_dim, mlp_dim: of encoder and decoder.
      eps: of the norms.
      num_buckets, max_distance: of relative positions, see `layers.relative`.
      gated: see `Layer`; the later models are.
      tied: the token embeddings are the head's kernel; those of the first models are.
      scaled: see `Head`; the first models' features are.
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
        """Zeros of the input's shapes and dtypes: texts of 8 tokens."""
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
        classify = partial(text.Classify, self.num_classes, self.dropout, dtype=self.dtype)
        return {
            "pool": partial(text.Pool, "tokens" if self.head == "tag" else "mean"),
            "head": text.Normalize if self.head == "embed" else classify,
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
