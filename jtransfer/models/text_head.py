"""Stages that end encoders of text: what represents the text, and classifiers of it."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.masked import masked_max, masked_mean
from jtransfer.layers.types import Array, DType
from jtransfer.models.text import Stream

_init = nn.initializers.normal(0.02)


class Pool(nn.Module):
    """What represents the text: [batch, width], or [batch, n, width] for "tokens".

    Attributes:
      kind: "cls", the features of the first token; "pooler", the same after a dense layer with tanh; "mean" of all
        tokens that are no padding; "unit_mean", that mean divided by its root mean square, which leaves the direction
        by which embeddings are compared; "max" of the same tokens; or "tokens", the features of each token.
      kernel_init: The initialiser of the dense layer's kernel.
      dtype: The dtype of the computation.
    """

    kind: str
    kernel_init: Callable = _init
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b *n d"]:
        x = stream["x"]
        if self.kind == "tokens":
            return x
        real = stream["mask"][:, 0, 0]
        if self.kind == "max":
            return masked_max(x, real)
        if self.kind in ("mean", "unit_mean"):
            mean = masked_mean(x, real)
            return mean if self.kind == "mean" else unit_mean_square(mean)
        if self.kind == "cls":
            return x[:, 0]
        dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        return jnp.tanh(dense(x[:, 0]))


def unit_mean_square(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Divides each row by its root mean square, which is computed in float32; rows of zeros stay zeros."""
    y = x.astype(jnp.float32)
    return (y * jax.lax.rsqrt(jnp.maximum(jnp.square(y).mean(-1, keepdims=True), 1e-24))).astype(x.dtype)


class Classify(nn.Module):
    """A classifier of a text, or of each of its tokens: dropout and one dense layer, with logits float32.

    Attributes:
      num_classes: The number of logits.
      dropout: The rate in training.
      kernel_init: The initialiser of the kernel.
      dtype: The dtype of the computation.
    """

    num_classes: int
    dropout: float = 0.0
    kernel_init: Callable = _init
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *n d"], *, train: bool = False) -> Float[Array, "b *n k"]:
        x = Dropout(self.dropout)(x, deterministic=not train)
        dense = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        return dense(x).astype(jnp.float32)


class DeepClassify(nn.Module):
    """A classifier of a text with a hidden layer: two dense layers, with logits float32.

    Attributes:
      num_classes: The number of logits.
      activation: The activation of the hidden layer.
      rates: The rates of dropout in training before the first and before the second layer.
      kernel_init: The initialiser of the kernels.
      dtype: The dtype of the computation.
    """

    num_classes: int
    activation: Callable
    rates: tuple[float, float]
    kernel_init: Callable = _init
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b k"]:
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        x = Dropout(self.rates[0])(x, deterministic=not train)
        x = self.activation(dense(x.shape[-1], name="hidden")(x))
        x = Dropout(self.rates[1])(x, deterministic=not train)
        return dense(self.num_classes, name="dense")(x).astype(jnp.float32)


class MaskedLM(nn.Module):
    """The logits of the token at each position, float32, as of BERT's masked language model.

    A dense layer with an activation and a layer norm, the products with the token embeddings, and `bias` [vocab_size].

    Attributes:
      embed: The stage whose `tokens` are the embeddings.
      eps: Added to the variance in the norm.
      activation: The activation after the dense layer.
      kernel_init: The initialiser of the kernel.
      dtype: The dtype of the computation.
    """

    embed: nn.Module
    eps: float
    activation: Callable
    kernel_init: Callable = _init
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b n v"]:
        dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        x = layers.LayerNorm(self.eps, dtype=self.dtype, name="norm")(self.activation(dense(x)))
        logits = self.embed.tokens.attend(x).astype(jnp.float32)
        return logits + self.param("bias", nn.initializers.zeros, (logits.shape[-1],))
