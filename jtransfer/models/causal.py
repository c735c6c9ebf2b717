"""What language models without an encoder have in common: each token sees itself and those before it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer.core.errors import unknown
from jtransfer.models import text
from jtransfer.models.chain import Chain, Tied

HEADS = ("lm", "classify")
INPUTS = ("input_ids", "attention_mask", "position_ids")
Stream = dict[str, Any]
"""Between stages: "x" [b, n, d], "mask" bool [b, 1, 1, m], False where there is padding, and "positions" int [b, n]."""

_init = nn.initializers.normal(0.02)


class Embed(nn.Module):
    """Token embeddings, times `scale`, plus learned positions if there are any.

    Attributes:
      max_length: number of learned positions; 0 for none.
      dropout: rate of what is dropped of the sum.
    """

    vocab_size: int
    width: int
    max_length: int = 0
    scale: float | None = None
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.tokens = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=_init)
        if self.max_length:
            self.positions = self.param("positions", _init, (self.max_length, self.width))
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, inputs: dict[str, Array], *, train: bool = False) -> Stream:
        text.check(inputs, INPUTS)
        ids = inputs["input_ids"]
        positions = jnp.broadcast_to(text.positions_of(inputs), ids.shape)
        x = self.tokens(ids)
        x = x if self.scale is None else x * jnp.asarray(self.scale, x.dtype)
        x = x + self.positions[positions].astype(x.dtype) if self.max_length else x
        return {"x": self.drop(x, deterministic=not train), "mask": text.mask_of(inputs), "positions": positions}


class Norm(nn.Module):
    """A norm of the stream."""

    make: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        return {**stream, "x": self.make(name="norm")(stream["x"])}


class LastToken(nn.Module):
    """What stands at the last token that is no padding, which has seen the whole text."""

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b d"]:
        seen = stream["mask"][:, 0, 0]
        last = jnp.argmax(jnp.arange(seen.shape[1]) * seen, axis=1)
        return jnp.take_along_axis(stream["x"], last[:, None, None], axis=1)[:, 0]


class Score(nn.Module):
    """The logits of a text's classes, float32."""

    num_classes: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b k"]:
        return nn.Dense(self.num_classes, False, self.dtype, kernel_init=_init, name="dense")(x).astype(jnp.float32)


class Logits(nn.Module):
    """The logits of each next token, float32, within ±softcap if there is one."""

    vocab_size: int
    softcap: float | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b n v"]:
        dense = nn.Dense(self.vocab_size, False, self.dtype, kernel_init=_init, name="dense")
        return soft_capped(dense(stream["x"]).astype(jnp.float32), self.softcap)


class TiedLogits(nn.Module):
    """The same as products with the token embeddings of the stage `embed`."""

    softcap: float | None
    embed: Embed

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b n v"]:
        return soft_capped(self.embed.tokens.attend(stream["x"]).astype(jnp.float32), self.softcap)


def soft_capped(logits: Float[Array, "b n v"], softcap: float | None) -> Float[Array, "b n v"]:
    """softcap · tanh(logits / softcap)."""
    return logits if softcap is None else softcap * jnp.tanh(logits / softcap)


class Causal(Chain):
    """embed → layer_0 … → norm → head, for a classifier embed → … → norm → pool → head.

    Its input is {"input_ids": int32 [b, n]}, with `attention_mask` [b, n] (default: all ones) and `position_ids`
    [b, n] (default: 0, 1, …) if wanted. Logits are float32, [b, n, vocab_size] or [b, num_classes].

    Attributes:
      num_classes: of a classifier; a language model's head is as wide as its vocabulary.
      head: "lm", the logits of each next token, or "classify", of the whole text.
      tied: the language model's head is the transposed embedding.
      vocab_size: number of tokens.
      max_length: number of positions that it was trained on.
      width, depth, num_heads, mlp_dim: of the layers.
      eps: of the norms.
      dropout, attention_dropout: rates in training, of embeddings and of what GPT-2's layers add to the residual, and
        of attention weights.
      pad: token that fills up texts, for those who need to know it; `attention_mask` says where it is.
    """

    head: str = "lm"
    tied: bool = False
    vocab_size: int = 50257
    max_length: int = 1024
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0
    pad: int | None = None

    learned_positions = False
    embedding_scale = None
    logit_softcap = None

    def norm(self) -> Callable[..., nn.Module]:
        """The constructor of the family's norm."""
        raise NotImplementedError

    def layer(self, i: int) -> Callable[..., nn.Module]:
        """The constructor of layer i, which takes a stream and gives one."""
        raise NotImplementedError

    def example_input(self, batch: int = 1) -> dict[str, Array]:
        """Zeros of the input's shapes and dtypes: texts of 8 tokens."""
        return {"input_ids": jnp.zeros((batch, min(8, self.max_length)), jnp.int32)}

    def parts(self):
        if self.head not in HEADS:
            raise unknown("head", self.head, HEADS)
        positions = self.max_length if self.learned_positions else 0
        return {
            "embed": partial(
                Embed, self.vocab_size, self.width, positions, self.embedding_scale, self.dropout, self.dtype
            ),
            **{f"layer_{i}": self.layer(i) for i in range(self.depth)},
            "norm": partial(Norm, self.norm()),
            **({"pool": LastToken} if self.head == "classify" else {}),
            "head": self._head(),
        }

    def _head(self):
        if self.head == "classify":
            return partial(Score, self.num_classes, self.dtype)
        if self.tied:
            return Tied(partial(TiedLogits, self.logit_softcap), "embed")
        return partial(Logits, self.vocab_size, self.logit_softcap, self.dtype)
