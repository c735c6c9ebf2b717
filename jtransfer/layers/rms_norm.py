"""Normalisation by the root mean square."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.types import Array, DType


class RMSNorm(nn.Module):
    """Divides the last axis by its root mean square and multiplies it by `scale`; no mean is taken, no bias added.

    Computed in float32 whatever the dtype of the input.

    Attributes:
      eps: Added to the mean square.
      offset: Added to the parameter `scale` [features], which starts at 1 − offset. It is 1 in Gemma's checkpoints and
        0 in all others.
      dtype: The dtype of the output; None takes the input's.

    References:
      Zhang & Sennrich, Root Mean Square Layer Normalization, arXiv:1910.07467, 2019.
    """

    eps: float = 1e-6
    offset: float = 0.0
    dtype: DType | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        scale = self.param("scale", nn.initializers.constant(1.0 - self.offset), (x.shape[-1],))
        wide = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return (wide * inverse * (scale + self.offset)).astype(self.dtype or x.dtype)
