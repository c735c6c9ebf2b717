"""Batch normalisation over feature maps."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import canonicalize_dtype
from jax import lax
from jaxtyping import Float

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.types import Array

Channels = Float[Array, " c"]


class BatchNorm(nn.BatchNorm):
    """Flax's `BatchNorm`, with the same parameters, statistics, arguments and results, and faster training on a CPU.

    On a CPU, only the input is kept for the gradient, which two passes over it compute; it works in reverse mode only
    (`jax.grad`, `jax.vjp`). Note that `momentum` is 1 − PyTorch's, and that the running variance is the biased one, as
    everywhere in Flax.

    References:
      Ioffe & Szegedy, Batch Normalization, arXiv:1502.03167, 2015.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "... c"], use_running_average: bool | None = None, *, mask: jax.Array | None = None
    ) -> Float[Array, "... c"]:
        """Normalises each channel, by the running statistics or by those of the batch, which then move the former.

        Args:
          x: Feature maps, or anything with the channels along the last axis.
          use_running_average: Whether to use the running statistics, if the constructor was not told.
          mask: False where a position does not count for the statistics; broadcastable to x.
        """
        stored = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        plain = mask is None and self.axis_name is None and self.axis == -1 and self.use_scale and self.use_bias
        if stored or self.is_initializing() or not plain or not dispatch.on_cpu():
            given = use_running_average if self.use_running_average is None else None
            return super().__call__(x, use_running_average=given, mask=mask)
        shape = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        means, variances = (
            self.variable("batch_stats", name, jnp.zeros, shape, jnp.float32) for name in ("mean", "var")
        )
        dtype = canonicalize_dtype(x, scale, bias, dtype=self.dtype)
        y, mean, var = _normalize(self.epsilon, x.reshape(-1, shape[0]), scale, bias)  # pyright: ignore[reportGeneralTypeIssues]
        means.value = self.momentum * means.value + (1 - self.momentum) * lax.stop_gradient(mean)
        variances.value = self.momentum * variances.value + (1 - self.momentum) * lax.stop_gradient(var)
        return y.reshape(x.shape).astype(dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalize(
    epsilon: float, x: Float[Array, "n c"], scale: Channels, bias: Channels
) -> tuple[Float[Array, "n c"], Channels, Channels]:
    """x normalised by its own statistics, in float32, with the mean and the biased variance of each channel."""
    x = x.astype(jnp.float32)
    mean = x.mean(axis=0)
    var = jnp.maximum((x * x).mean(axis=0) - mean * mean, 0.0)
    slope = scale * lax.rsqrt(var + epsilon)
    return x * slope + (bias - mean * slope), mean, var


@partial(jax.jit, static_argnums=0)  # layers of one shape are traced once
def _forward(epsilon, x, scale, bias):
    y, mean, var = _normalize(epsilon, x, scale, bias)  # pyright: ignore[reportGeneralTypeIssues]
    return (y, mean, var), (x, scale, mean, var)


@partial(jax.jit, static_argnums=0)
def _backward(epsilon, saved, cotangents):
    """The mean and variance are statistics to keep, not outputs to differentiate: their cotangents are zero."""
    x, scale, mean, var = saved
    g, inverse = cotangents[0], lax.rsqrt(var + epsilon)
    dbias = g.sum(axis=0)
    dscale = (g * (x - mean)).sum(axis=0) * inverse
    slope, n = scale * inverse, x.shape[0]
    along = -slope * inverse * dscale / n
    dx = g * slope + x * along - (slope * dbias / n + mean * along)
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(scale.dtype)


_normalize.defvjp(_forward, _backward)
