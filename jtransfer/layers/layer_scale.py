"""A learned factor for each channel, at the end of a residual branch."""

import flax.linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Float

from jtransfer.layers.types import Array, DType


class LayerScale(nn.Module):
    """Multiplies the last axis by the parameter `scale` [channels].

    Attributes:
      initial: The value that all of `scale` starts with.
      dtype: The dtype of the computation; None takes the promotion of the input and the parameter.

    References:
      Touvron et al., Going Deeper with Image Transformers, arXiv:2103.17239, 2021.
    """

    initial: float
    dtype: DType | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        scale = self.param("scale", nn.initializers.constant(self.initial), (x.shape[-1],))
        x, scale = promote_dtype(x, scale, dtype=self.dtype)
        return x * scale
