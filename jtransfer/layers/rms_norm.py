"""Normalisation by the root mean square alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class RMSNorm(nn.Module):
    """Divides the last axis by its root mean square (Zhang and Sennrich 2019, arXiv:1910.07467); no mean, no bias.

    Computed in float32 whatever the input's dtype.

    Attributes:
      eps: added to the mean square.
      offset: added to the parameter `scale` [features], which starts at 1 − offset. Gemma's files have 1, others 0.
      dtype: of the output; None is the input's.
    """

    eps: float = 1e-6
    offset: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        scale = self.param("scale", nn.initializers.constant(1.0 - self.offset), (x.shape[-1],))
        wide = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return (wide * inverse * (scale + self.offset)).astype(self.dtype or x.dtype)
