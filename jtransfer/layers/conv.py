"""Convolution over feature maps; a number as padding means PyTorch's symmetric padding."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Float

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.cpu.depthwise import depthwise
from jtransfer.layers.cpu.window_views import Pads, Pair, out_size, pad, sides, window_views
from jtransfer.layers.types import Array, DType

Padding = str | int | Pads

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


class Conv(nn.Module):
    """A two-dimensional convolution: ordinary, 1×1, grouped or depthwise (`groups` equal to the input's channels).

    Parameters: `kernel` [height, width, in / groups, features] and, with `use_bias`, `bias` [features].

    Attributes:
      features: The number of output channels.
      kernel_size: The window: one number for a square, or (height, width).
      strides: One number, or (height, width).
      padding: "SAME" (TensorFlow's, where an odd pixel goes to the end), "VALID", a number of pixels for all four sides
        (PyTorch's), or ((top, bottom), (left, right)).
      groups: The number of groups of channels.
      use_bias: Whether there is a bias.
      dtype: The dtype of the computation; None takes the promotion of the input and the parameters.
      param_dtype: The dtype of the parameters.
      kernel_init: The initialiser of the kernel.
      bias_init: The initialiser of the bias.
    """

    features: int
    kernel_size: int | Pair
    strides: int | Pair = 1
    padding: Padding = "SAME"
    groups: int = 1
    use_bias: bool = True
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j f"]:
        shape = (*pair(self.kernel_size), x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv(x, kernel, strides=self.strides, padding=self.padding, groups=self.groups)
        return y if bias is None else y + bias


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw cg f"],
    *,
    strides: int | Pair = 1,
    padding: Padding = "SAME",
    groups: int = 1,
) -> Float[Array, "b i j f"]:
    """Convolves feature maps with a kernel, as `Conv` does.

    On a CPU, depthwise convolutions have a gradient of their own, which works in reverse mode only (`jax.grad`,
    `jax.vjp`).

    Args:
      x: The feature maps.
      kernel: The kernel, with the input channels of one group.
      strides: One number, or (height, width).
      padding: As of `Conv`.
      groups: The number of groups of channels.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    strides, window = pair(strides), (kernel.shape[0], kernel.shape[1])
    pads = explicit_padding(padding, sides(x), window, strides)
    size = out_size(sides(x), window, strides, pads)
    match dispatch.conv(x.shape[-1], kernel.shape, pads, groups, size):
        case "pointwise":
            return pointwise(x, kernel, strides)
        case "depthwise":
            return depthwise(x, kernel, strides, pads)
        case "patches":
            return patches(x, kernel, strides, pads)
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=DIMENSIONS, feature_group_count=groups)


def pair(value: int | Pair) -> Pair:
    """A number for both axes as a pair: `3` → `(3, 3)`."""
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def explicit_padding(padding: Padding, size: Pair, window: Pair, strides: Pair) -> Pads:
    """The padding as ((top, bottom), (left, right)), from any form that `Conv` takes, for a map of `size`."""
    if isinstance(padding, str):
        rows, columns = lax.padtype_to_pads(size, window, strides, padding)
        return rows, columns
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    (top, bottom), (left, right) = padding
    return (top, bottom), (left, right)


def pointwise(x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c f"], strides: Pair) -> Float[Array, "b i j f"]:
    """A 1×1 convolution as one matrix product."""
    x = x[:, :: strides[0], :: strides[1]]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)


def patches(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c f"], strides: Pair, pads: Pads
) -> Float[Array, "b i j f"]:
    """A convolution as the matrix of all patches times the kernel."""
    views = jnp.concatenate(window_views(pad(x, pads), (kernel.shape[0], kernel.shape[1]), strides), axis=-1)
    b, i, j, n = views.shape
    return (views.reshape(-1, n) @ kernel.reshape(n, -1)).reshape(b, i, j, -1)
