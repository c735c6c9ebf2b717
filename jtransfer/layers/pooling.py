"""Pooling over feature maps; a number as padding means PyTorch's symmetric padding."""

from functools import partial, reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jtransfer.layers.conv import Padding, explicit_padding, pair
from jtransfer.layers.cpu import dispatch
from jtransfer.layers.cpu.window_views import Pads, Pair, merge, pad, sides, transposed_views, window_views
from jtransfer.layers.types import Array


def max_pool(
    x: Float[Array, "b h w c"], window: int | Pair, strides: int | Pair, padding: Padding = "VALID"
) -> Float[Array, "b i j c"]:
    """The maximum over each window; padding never wins.

    The gradient goes to the first maximum of a window, row by row. On a CPU it works in reverse mode only.

    Args:
      x: Feature maps.
      window: One number for a square, or (height, width).
      strides: One number, or (height, width).
      padding: As of `layers.Conv`.
    """
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, sides(x), window, strides)
    if not dispatch.on_cpu():
        return nn.max_pool(x, window, strides, pads)  # pyright: ignore[reportArgumentType]
    x = _max((1, window[1]), (1, strides[1]), ((0, 0), pads[1]), x)
    return _max((window[0], 1), (strides[0], 1), (pads[0], (0, 0)), x)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _max(window: Pair, strides: Pair, pads: Pads, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """The maximum of shifted views; along one axis at a time, so that the gradient looks at few of them."""
    return reduce(jnp.maximum, window_views(pad(x, pads, -jnp.inf), window, strides))


def _max_forward(window, strides, pads, x):
    return _max(window, strides, pads, x), x


def _max_backward(window, strides, pads, x, g):
    best, *views = window_views(pad(x, pads, -jnp.inf), window, strides)
    first = jnp.zeros(best.shape, jnp.int8)
    for k, view in enumerate(views, 1):
        first = jnp.where(view > best, jnp.int8(k), first)
        best = jnp.maximum(best, view)
    size = x.shape[1:3]
    seen = zip(*(transposed_views(source, size, window, strides, pads) for source in (g, first)), strict=True)
    dx = [
        reduce(jnp.add, [jnp.where(first == k, g, 0) for (k, g), (_, first) in zip(*phase, strict=True)])
        for phase in seen
    ]
    return (merge(dx, size, strides),)


_max.defvjp(_max_forward, _max_backward)


def avg_pool(
    x: Float[Array, "b h w c"],
    window: int | Pair,
    strides: int | Pair,
    padding: Padding = "VALID",
    *,
    count_include_pad: bool = True,
) -> Float[Array, "b i j c"]:
    """The mean over each window.

    Args:
      x: Feature maps.
      window: One number for a square, or (height, width).
      strides: One number, or (height, width).
      padding: As of `layers.Conv`.
      count_include_pad: Whether padding counts, as zeros: PyTorch's default, and not what Keras does.
    """
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, sides(x), window, strides)
    return nn.avg_pool(x, window, strides, pads, count_include_pad)  # pyright: ignore[reportArgumentType]


def global_avg_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The mean over height and width."""
    return x.mean(axis=(1, 2))


def adaptive_avg_pool(x: Float[Array, "b h w c"], size: int | Pair) -> Float[Array, "b i j c"]:
    """Averages feature maps [H, W] down or up to a given size [h, w], as PyTorch's AdaptiveAvgPool2d does.

    Row i of the output averages the rows ⌊i·H/h⌋ … ⌈(i+1)·H/h⌉ − 1 of the input; columns alike.

    Args:
      x: Feature maps.
      size: Height and width of the output: one number, or two.
    """
    (h, w), (height, width) = pair(size), x.shape[1:3]
    if (height, width) == (h, w):
        return x
    if height % h == 0 and width % w == 0:
        return x.reshape(x.shape[0], h, height // h, w, width // w, x.shape[3]).mean(axis=(2, 4))
    rows, columns = (jnp.asarray(_bins(n, k), x.dtype) for n, k in ((height, h), (width, w)))
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)


def _bins(size: int, bins: int) -> np.ndarray:
    """[bins, size]: row i averages the input positions of output position i."""
    i, position = np.arange(bins)[:, None], np.arange(size)
    inside = (position >= i * size // bins) & (position < -(-(i + 1) * size // bins))
    return inside / inside.sum(axis=1, keepdims=True)
