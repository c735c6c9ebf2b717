"""The base of language models without an encoder, in which each token attends to itself and to those before it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.core.errors import unknown
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.tied_embed import TiedEmbed
from jtransfer.layers.types import Array, DType
from jtransfer.models import text
from jtransfer.models.chain import Chain, Tied

HEADS = ("lm", "classify")
INPUTS = ("input_ids", "attention_mask", "position_ids")
Stream = dict[str, Any]
"""What passes between two stages: "x" [batch, n, width], "mask" bool [batch, 1, 1, m], False where there is padding,
and "positions" int [batch, n]."""

_init = nn.initializers.normal(0.02)


class Embed(nn.Module):
    """Embeds tokens, multiplies them by a factor if there is one, and adds learned positions if there are any.

    Attributes:
      vocab_size: The number of tokens.
      width: The number of features.
      max_length: The number of learned positions; 0 means that there are none.
      scale: The factor of token embeddings; None means no factor.
      dropout: The rate in training.
      dtype: The dtype of the computation.
    """

    vocab_size: int
    width: int
    max_length: int = 0
    scale: float | None = None
    dropout: float = 0.0
    dtype: DType = jnp.float32

    def setup(self):
        self.tokens = TiedEmbed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=_init)
        if self.max_length:
            self.positions = self.param("positions", _init, (self.max_length, self.width))
        self.drop = Dropout(self.dropout)

    def __call__(self, inputs: text.Inputs, *, train: bool = False) -> Stream:
        text.check(inputs, INPUTS)
        ids = inputs["input_ids"]
        positions = jnp.broadcast_to(text.positions_of(inputs), ids.shape)
        x = self.tokens(ids)
        x = x if self.scale is None else x * jnp.asarray(self.scale, x.dtype)
        x = x + self.positions[positions].astype(x.dtype) if self.max_length else x
        return {"x": self.drop(x, deterministic=not train), **text.padding_of(inputs), "positions": positions}


class Norm(nn.Module):
    """A norm of the stream's "x".

    Attributes:
      make: The constructor of the norm.
    """

    make: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        return {**stream, "x": self.make(name="norm")(stream["x"])}


class LastToken(nn.Module):
    """The features of each text's last token that is no padding, which has attended to the whole text."""

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b d"]:
        real = stream["mask"][:, 0, 0]
        last = jnp.argmax(jnp.arange(real.shape[1]) * real, axis=1)
        return jnp.take_along_axis(stream["x"], last[:, None, None], axis=1)[:, 0]


class Score(nn.Module):
    """A classifier of texts, one dense layer without bias: logits float32."""

    num_classes: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b k"]:
        return nn.Dense(self.num_classes, False, self.dtype, kernel_init=_init, name="dense")(x).astype(jnp.float32)


class Logits(nn.Module):
    """The logits of the token after each one, float32.

    Attributes:
      vocab_size: The number of tokens.
      softcap: The bound of the logits, see `soft_capped`.
      dtype: The dtype of the computation.
    """

    vocab_size: int
    softcap: float | None = None
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b n v"]:
        dense = nn.Dense(self.vocab_size, False, self.dtype, kernel_init=_init, name="dense")
        return soft_capped(dense(stream["x"]).astype(jnp.float32), self.softcap)


class TiedLogits(nn.Module):
    """The logits of the token after each one, as products with the token embeddings, float32.

    Attributes:
      softcap: The bound of the logits, see `soft_capped`.
      embed: The stage whose `tokens` are the embeddings.
    """

    softcap: float | None
    embed: Embed

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b n v"]:
        return soft_capped(self.embed.tokens.attend(stream["x"]).astype(jnp.float32), self.softcap)


def soft_capped(logits: Float[Array, "b n v"], softcap: float | None) -> Float[Array, "b n v"]:
    """Bounds logits smoothly: softcap · tanh(logits / softcap). None means no bound."""
    return logits if softcap is None else softcap * jnp.tanh(logits / softcap)


class Causal(Chain):
    """A decoder, a chain of the stages embed → layer_0 … → norm → head, or embed → … → norm → pool → head.

    The input is {"input_ids": int32 [batch, n]}, and optionally `attention_mask` [batch, n] (by default all ones) and
    `position_ids` [batch, n] (by default 0, 1, …).

    Attributes, beside those of `Chain`:
      num_classes: The number of classes of "classify"; "lm" does not use it.
      head: What the model gives, float32: "lm", the logits of the token after each one [batch, n, vocab_size]; or
        "classify", the logits of each text [batch, num_classes].
      tied: Whether the language model's head is the transposed embedding.
      vocab_size: The number of tokens.
      max_length: The greatest number of tokens of a text in training.
      width: The number of features of a token.
      depth: The number of layers.
      num_heads: The number of attention heads.
      mlp_dim: The number of features inside the networks of the layers.
      eps: Added to the variance or mean square in the norms.
      dropout: The rate in training of embeddings, and of what the layers of GPT-2 add to the residual.
      attention_dropout: The rate in training of attention weights.
      attention_kernel: What computes attention: "auto", "composed", "cudnn" or "splash", see `layers.attend`.
      pad: The token that fills up texts, for those who make them; `attention_mask` says where it is.
    """

    takes = ("text",)

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
    attention_kernel: str = "auto"
    pad: int | None = None

    learned_positions = False
    embedding_scale = None
    logit_softcap = None

    def norm(self) -> Callable[..., nn.Module]:
        """The constructor of the norms of a family."""
        raise NotImplementedError

    def layer(self, i: int) -> Callable[..., nn.Module]:
        """The constructor of a layer, counted from 0."""
        raise NotImplementedError

    def example_input(self, batch: int = 1) -> dict[str, Array]:
        """Texts of 8 tokens, all zeros."""
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
