"""Recurrent layers: LSTM and GRU."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.layers.types import Array, DType

GATES = {"lstm": 4, "gru": 3}
"""Name of a cell → its number of gates, whose kernels lie side by side."""

_Cell = Callable[..., tuple[Array, ...]]


class Recurrence(nn.Module):
    """One direction of an LSTM or GRU over a sequence.

    Where the mask is False the state is passed on unchanged, so padding has no effect, wherever it is.

    Parameters: `kernel` [input features, gates · features], `recurrent` [features, gates · features] and up to two
    biases [gates · features]: `bias` is added to the products of the input, `recurrent_bias` to those of the state. The
    gates of an LSTM are input, forget, cell and output, those of a GRU reset, update and new, as in torch.

    Attributes:
      cell: "lstm" or "gru".
      features: The number of features of the state.
      biases: The number of biases: 2, as in torch; 1, the input's, as in Keras's LSTM; or 0.
      reset_after: Whether the reset gate of a GRU multiplies the products of the state, as in torch, and not the state
        itself, as in the paper.
      backward: Whether the sequence is read from its last position to its first.
      dtype: The dtype of the computation.

    References:
      Hochreiter & Schmidhuber, Long Short-Term Memory, 1997.
      Cho et al., Learning Phrase Representations using RNN Encoder–Decoder, arXiv:1406.1078, 2014.
    """

    cell: str
    features: int
    biases: int = 2
    reset_after: bool = True
    backward: bool = False
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n f"]:
        """Returns the state after each position.

        Args:
          x: The sequences.
          mask: False where there is padding.
        """
        wide = GATES[self.cell] * self.features
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), (x.shape[-1], wide))
        recurrent = self.param("recurrent", nn.initializers.orthogonal(), (self.features, wide))
        names = ("bias", "recurrent_bias")[: self.biases]
        biases = [self.param(name, nn.initializers.zeros, (wide,)).astype(self.dtype) for name in names]
        bias, recurrent_bias = (*biases, None, None)[:2]
        x, kernel, recurrent = (part.astype(self.dtype) for part in (x, kernel, recurrent))
        given = x @ kernel if bias is None else x @ kernel + bias
        step = _lstm if self.cell == "lstm" else _gru_after if self.reset_after else _gru_before

        def advance(state, now):
            given, seen = now
            moved = step(state, given, recurrent, recurrent_bias)
            state = tuple(jnp.where(seen[:, None], new, old) for new, old in zip(moved, state, strict=True))
            return state, state[0]

        start = (jnp.zeros((x.shape[0], self.features), self.dtype),) * (2 if self.cell == "lstm" else 1)
        _, found = jax.lax.scan(advance, start, (given.swapaxes(0, 1), mask.T), reverse=self.backward)
        return found.swapaxes(0, 1)


def _product(state: Array, recurrent: Array, bias: Array | None) -> Array:
    return state @ recurrent if bias is None else state @ recurrent + bias


def _lstm(state: tuple[Array, Array], given: Array, recurrent: Array, bias: Array | None) -> tuple[Array, Array]:
    hidden, memory = state
    enter, forget, new, leave = jnp.split(given + _product(hidden, recurrent, bias), 4, axis=-1)
    memory = nn.sigmoid(forget) * memory + nn.sigmoid(enter) * jnp.tanh(new)
    return nn.sigmoid(leave) * jnp.tanh(memory), memory


def _gru_after(state: tuple[Array], given: Array, recurrent: Array, bias: Array | None) -> tuple[Array]:
    (hidden,), gates = state, jnp.split(given, 3, axis=-1)
    products = jnp.split(_product(hidden, recurrent, bias), 3, axis=-1)
    reset, update = (nn.sigmoid(gates[i] + products[i]) for i in range(2))
    new = jnp.tanh(gates[2] + reset * products[2])
    return ((1 - update) * new + update * hidden,)


def _gru_before(state: tuple[Array], given: Array, recurrent: Array, bias: Array | None) -> tuple[Array]:
    (hidden,), size = state, state[0].shape[-1]
    outer, inner = (None, None) if bias is None else (bias[: 2 * size], bias[2 * size :])
    products = _product(hidden, recurrent[:, : 2 * size], outer)
    reset, update = jnp.split(nn.sigmoid(given[:, : 2 * size] + products), 2, axis=-1)
    new = jnp.tanh(given[:, 2 * size :] + _product(reset * hidden, recurrent[:, 2 * size :], inner))
    return ((1 - update) * new + update * hidden,)
