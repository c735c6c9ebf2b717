"""Depthwise convolution on a CPU, by multiplying and adding shifted views of the map; its gradient likewise."""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.cpu.window_views import Pads, Pair, merge, pad, transposed_views, window_views
from jtransfer.layers.types import Array


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 c"], strides: Pair, pads: Pads
) -> Float[Array, "b i j c"]:
    """Convolves each channel of a feature map with a kernel of its own.

    The gradient works in reverse mode only (`jax.grad`, `jax.vjp`).

    Args:
      x: Feature maps.
      kernel: One window for each channel.
      strides: Of height and width.
      pads: The padding, ((top, bottom), (left, right)).
    """
    return _forward(x, kernel, strides, pads)[0]


@partial(jax.jit, static_argnums=(2, 3))  # layers of one shape are traced once
def _forward(x, kernel, strides, pads):
    padded = pad(x, pads)
    views = window_views(padded, kernel.shape[:2], strides)
    return reduce(jnp.add, map(jnp.multiply, views, _weights(kernel))), (kernel, padded)


def _backward(strides, pads, saved, g):
    return dispatch.fusion_barrier(partial(_gradients, strides, pads), *saved, g)


@partial(jax.jit, static_argnums=(0, 1))
def _gradients(strides, pads, kernel, padded, g):
    window, weights = kernel.shape[:2], _weights(kernel)
    size = tuple(n - sum(ends) for n, ends in zip(padded.shape[1:3], pads, strict=True))
    seen = transposed_views(g, size, window, strides, pads)
    dx = merge([reduce(jnp.add, [view * weights[k] for k, view in phase]) for phase in seen], size, strides)
    dkernel = _sums([view * g for view in window_views(padded, window, strides)])
    return dx, dkernel.reshape(kernel.shape).astype(kernel.dtype)


def _weights(kernel: Float[Array, "kh kw 1 c"]) -> Float[Array, "k c"]:
    return kernel.reshape(-1, kernel.shape[-1])


def _sums(views: list[Float[Array, "b i j c"]], together: int = 3) -> Float[Array, "k c"]:
    """The sum of each view over images and positions, in float32.

    Over images first, `together` views in one reduction: XLA's CPU compiler then makes vector loops that read what the
    views share once. One view at a time takes 6 times as long, all 9 or 25 at once 2 to 4 times.
    """
    views, zero = [view.astype(jnp.float32) for view in views], jnp.zeros((), jnp.float32)
    sums = []
    for first in range(0, len(views), together):
        group = tuple(views[first : first + together])
        sums += lax.reduce(group, (zero,) * len(group), lambda a, b: tuple(map(jnp.add, a, b)), dimensions=(0,))
    return jnp.stack([over_images.sum(axis=(0, 1)) for over_images in sums])


depthwise.defvjp(_forward, _backward)
