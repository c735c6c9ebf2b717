"""Channels weighed by what the whole map shows (squeeze-and-excitation, arXiv:1709.01507)."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer.layers.pooling import global_avg_pool

_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class SqueezeExcite(nn.Module):
    """Multiplies each channel by `gate(expand(act(reduce(mean over the map))))`.

    Parameters: dense layers `reduce` [c, features] and `expand` [features, c], both with bias.
    """

    features: int
    act: Callable = nn.relu
    gate: Callable = nn.sigmoid
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = nn.Dense(self.features, dtype=self.dtype, kernel_init=_init, name="reduce")(global_avg_pool(x))
        y = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=_init, name="expand")(self.act(y))
        return x * self.gate(y)[:, None, None]
