"""Vectors scaled to length 1."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.types import Array


def l2_normalize(x: Float[Array, "*b d"], eps: float = 1e-12) -> Float[Array, "*b d"]:
    """Divides each vector along the last axis by its Euclidean length.

    Args:
      x: Vectors of any float dtype.
      eps: Lengths below this count as `eps`, so that vectors of zeros stay zeros and have a gradient of zero.

    Returns:
      The vectors of length 1, float32.
    """
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), eps**2))
