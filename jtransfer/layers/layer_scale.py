"""A learned factor per channel at the end of a residual branch (arXiv:2103.17239)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class LayerScale(nn.Module):
    """Multiplies the last axis by the parameter `scale` [channels], which starts at `initial`."""

    initial: float
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        scale = self.param("scale", nn.initializers.constant(self.initial), (x.shape[-1],))
        x, scale = nn.dtypes.promote_dtype(x, scale, dtype=self.dtype)
        return x * scale
