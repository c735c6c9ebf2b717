"""Multilayer perceptrons over vectors of numbers."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.core.errors import InputError, unknown
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import Chain
from jtransfer.models.head import Head


class Hidden(nn.Module):
    """A dense layer, its activation, and dropout after it."""

    features: int
    activation: Callable
    dropout: float = 0.0
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool = False) -> Float[Array, "b d"]:
        x = self.activation(nn.Dense(self.features, dtype=self.dtype, name="dense")(x))
        return Dropout(self.dropout)(x, deterministic=not train)


class MLP(Chain):
    """A multilayer perceptron: hidden1 → hidden2 → … → head.

    Its input is vectors [b, num_features], its output logits float32 [b, num_classes].

    Attributes:
      num_features: length of the vectors; in a run, the data give it.
      widths: of the hidden layers, at least one.
      activation: after each hidden layer, a name of `layers.activation.ACTIVATIONS`.
      dropout: rate in training, after each hidden layer.
    """

    takes = ("vector",)

    num_features: int = 64
    widths: tuple[int, ...] = (128, 64)
    activation: str = "relu"
    dropout: float = 0.0

    def example_input(self, batch: int = 1) -> Float[Array, "b c"]:
        """Zeros of the input's shape and dtype: float32 [batch, num_features]."""
        return jnp.zeros((batch, self.num_features), jnp.float32)

    def parts(self):
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        if not self.widths:
            raise InputError("widths=(): a multilayer perceptron has at least one hidden layer")
        hidden = partial(Hidden, activation=ACTIVATIONS[self.activation], dropout=self.dropout, dtype=self.dtype)
        return {
            **{f"hidden{i}": partial(hidden, width) for i, width in enumerate(self.widths, 1)},
            "head": partial(Head, self.num_classes, dtype=self.dtype),
        }


MODELS = {"mlp": partial(MLP)}
