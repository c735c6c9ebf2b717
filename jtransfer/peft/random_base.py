"""Random matrices that are never stored: a number is a function of a seed, its row and its column.

So a larger matrix of a seed contains a smaller one, the same on every machine, and one can be drawn within a step: that
costs ten integer operations a number, less than a hundredth of the products with it.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jtransfer.layers.types import Array


def uniform(seed: Array, stream: int, rows: int, columns: int) -> jax.Array:
    """Returns numbers in (-1, 1), float32 [rows, columns], of mean 0 and variance 1/3.

    They are odd multiples of 1/256, which bfloat16 holds exactly.

    Args:
      seed: a whole number, uint32 [].
      stream: which of several matrices of a seed.
      rows, columns: the shape.
    """
    start = _mixed(jnp.asarray(seed, jnp.uint32) ^ _mixed(jnp.uint32(stream)))
    row = _mixed(start + lax.iota(jnp.uint32, rows))
    column = _mixed(~start + lax.iota(jnp.uint32, columns))
    bits = _mixed(row[:, None] ^ column[None, :]) >> 24
    return (2 * bits.astype(jnp.float32) - 255) / 256


def _mixed(x: jax.Array) -> jax.Array:
    """A bijection of 32 bits, in which each bit of the result depends on all bits."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0x735A2D97)
    return x ^ (x >> 15)
