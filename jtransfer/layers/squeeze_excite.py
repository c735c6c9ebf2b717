"""Squeeze-and-excitation: each channel is weighted by a function of the means of all channels."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Float

from jtransfer.layers.pooling import global_avg_pool
from jtransfer.layers.types import Array, DType

_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class SqueezeExcite(nn.Module):
    """Multiplies each channel of a feature map by `gate(expand(act(reduce(mean over the map))))`.

    Parameters: the dense layers `reduce` [channels, features] and `expand` [features, channels], both with bias.

    Attributes:
      features: The number of features between the two dense layers.
      act: The activation after `reduce`.
      gate: The function that makes factors of what `expand` gives.
      dtype: The dtype of the computation; None takes the promotion of the input and the parameters.

    References:
      Hu et al., Squeeze-and-Excitation Networks, arXiv:1709.01507, 2017.
    """

    features: int
    act: Callable = nn.relu
    gate: Callable = nn.sigmoid
    dtype: DType | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = nn.Dense(self.features, dtype=self.dtype, kernel_init=_init, name="reduce")(global_avg_pool(x))
        y = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=_init, name="expand")(self.act(y))
        return x * self.gate(y)[:, None, None]
