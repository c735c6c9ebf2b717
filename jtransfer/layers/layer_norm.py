"""Layer normalisation over the last axis."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import canonicalize_dtype
from jax import lax
from jaxtyping import Float

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.types import Array


class LayerNorm(nn.LayerNorm):
    """Flax's `LayerNorm`, with the same parameters `scale` and `bias`, arguments and results, and less memory.

    Its derivative is written in terms of the normalised input, so that only the input, and a mean and a deviation of
    each row, are kept for the gradient.

    References:
      Ba et al., Layer Normalization, arXiv:1607.06450, 2016.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "... d"], *, mask: jax.Array | None = None) -> Float[Array, "... d"]:
        """Normalises each row of x in float32.

        Args:
          x: The rows, along the last axis.
          mask: False where a feature does not count for the statistics; broadcastable to x.
        """
        plain = mask is None and self.axis_name is None and self.feature_axes == self.reduction_axes == -1
        if self.is_initializing() or not (plain and self.use_scale and self.use_bias and self.use_fast_variance):
            return super().__call__(x, mask=mask)
        scale = self.param("scale", self.scale_init, x.shape[-1:], self.param_dtype)
        bias = self.param("bias", self.bias_init, x.shape[-1:], self.param_dtype)
        dtype = canonicalize_dtype(x, scale, bias, dtype=self.dtype)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return (_unit(self.epsilon, x.astype(wide)) * scale + bias).astype(dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _unit(epsilon: float, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """x with mean 0 and variance 1 in each row."""
    return _unit_and_slope(epsilon, x)[0]


@_unit.defjvp
def _unit_jvp(epsilon, primals, tangents):
    (x,), (dx,) = primals, tangents

    def moved(x, dx):
        unit, slope = _unit_and_slope(epsilon, x)
        across = dx - dx.mean(axis=-1, keepdims=True)
        return (across - unit * (unit * dx).mean(axis=-1, keepdims=True)) * slope

    return _unit(epsilon, x), _apart(moved, x, dx)


def _apart(moved, x, dx):
    """`moved(x, dx)`; on a single CPU so that XLA does not fuse it with what follows. It would compute the gradient of
    each norm in a chain of residual connections anew from the end of the chain, in time that is quadratic in the depth.
    On several devices a branch may not hold what they exchange."""
    if x.size and dispatch.on_cpu() and jax.device_count() == 1:
        return dispatch.fusion_barrier(moved, x, dx)
    return moved(x, dx)


def _unit_and_slope(epsilon, x):
    mean = x.mean(axis=-1, keepdims=True)
    variance = jnp.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0.0)
    slope = lax.rsqrt(variance + epsilon)
    return (x - mean) * slope, slope
