"""Dropout that draws 16 random bits for a number: half the work of the 32 that Flax draws."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool

_LEVELS = 1 << 16


def keep(key: Array, rate: ArrayLike, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """Draws which numbers dropout keeps.

    Args:
      key: a random key of `jax.random`.
      rate: how probable it is that a number is dropped, in [0, 1), a number or an array []. It is rounded to a multiple
        of 2⁻¹⁶.
      shape: of the result.

    Returns:
      An array of bools, True with probability `1 - rate`, independent of each other.
    """
    if not shape:
        return keep(key, rate, (1,))[0]
    *leading, last = shape
    words = jax.random.bits(key, (*leading, -(-last // 2)), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16)
    threshold = jnp.round(jnp.asarray(rate, jnp.float32) * _LEVELS).astype(jnp.uint32)
    return (halves.reshape(*leading, -1)[..., :last] >= threshold).astype(bool)


class Drawn(NamedTuple):
    """What is to be dropped, before it is drawn: a random key of `jax.random`, and the rate in [0, 1]."""

    key: Array
    rate: float


class Later(nn.Dropout):
    """Dropout of numbers inside of another function, which draws them; fields are those of Flax's."""

    @nn.compact
    def __call__(self, deterministic: bool | None = None) -> Drawn | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns what that function drops, None for nothing."""
        if self.rate == 0 or nn.merge_param("deterministic", self.deterministic, deterministic):
            return None
        return Drawn(self.make_rng(self.rng_collection), self.rate)


class Dropout(nn.Dropout):
    """Sets numbers to zero at a rate in training and divides the others by `1 - rate`; fields are those of Flax's."""

    @nn.compact
    def __call__(self, inputs: Any, deterministic: bool | None = None, rng: Array | None = None) -> Any:
        deterministic = nn.merge_param("deterministic", self.deterministic, deterministic)
        if self.rate == 0 or deterministic:
            return inputs
        if self.rate == 1:
            return jnp.zeros_like(inputs)
        shape = [1 if axis in self._shared(inputs.ndim) else size for axis, size in enumerate(inputs.shape)]
        mask = keep(self.make_rng(self.rng_collection) if rng is None else rng, self.rate, tuple(shape))
        return jnp.where(mask, inputs / (1 - self.rate), jnp.zeros_like(inputs))

    def _shared(self, ndim: int) -> set[int]:
        return {axis % ndim for axis in self.broadcast_dims}
