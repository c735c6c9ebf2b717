"""Decides whether an operation is XLA's own or one of those that are written for the CPU.

XLA compiles convolutions and windows well for GPUs and TPUs. Its CPU compiler is slow at four of them, by factors of 5
to 60: depthwise convolutions, 1×1 convolutions, convolutions on maps of a few pixels, and the gradient of max-pooling.
There, and only there, the same numbers are computed by other operations.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

SMALL_MAP = 49  # output pixels up to which patches times a matrix beat XLA's convolution on a CPU


_PLATFORM: ContextVar[tuple[str, str | None]] = ContextVar("platform", default=("", None))


@contextmanager
def platform(name: str, capability: str | None = None) -> Iterator[None]:
    """A context in which programs are traced for a platform, whatever the default backend is.

    Args:
      name: "cpu", "cuda" or "tpu"; any other name takes XLA's own operations, which run everywhere.
      capability: The compute capability of a GPU that is not here, as "9.0".
    """
    token = _PLATFORM.set((name, capability))
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def target() -> str:
    """Returns what programs are traced for, "cpu", "cuda", "rocm" or "tpu": the `platform` of the context, or else the
    default backend."""
    return _PLATFORM.get()[0] or _backend()


def capability() -> str | None:
    """Returns the compute capability of the GPUs that programs are traced for: that of the context's `platform`, or
    else of the first one here; None where there is none, or it is not NVIDIA's."""
    if (told := _PLATFORM.get()[1]) is not None:
        return told
    device = next((device for device in jax.local_devices() if device.platform == "gpu"), None)
    return getattr(device, "compute_capability", None)


def _backend() -> str:
    name = jax.default_backend()
    if name != "gpu":
        return name
    return "rocm" if "rocm" in jax.devices()[0].client.platform_version.lower() else "cuda"


def on_cpu() -> bool:
    """Returns whether programs are traced for the CPU."""
    return target() == "cpu"


def conv(in_channels: int, kernel_shape: tuple[int, ...], pads, groups: int, out_size: tuple[int, int]) -> str:
    """Which implementation of a convolution is used: "xla", "pointwise", "depthwise" or "patches".

    Args:
      in_channels: The number of input channels.
      kernel_shape: The shape of the kernel, [height, width, input channels of a group, features].
      pads: The padding, ((top, bottom), (left, right)).
      groups: The number of groups of channels.
      out_size: Height and width of the output.
    """
    if not on_cpu():
        return "xla"
    window, features = kernel_shape[:2], kernel_shape[-1]
    if groups == 1 and window == (1, 1) and pads == ((0, 0), (0, 0)):
        return "pointwise"
    if groups > 1 and groups == in_channels == features:
        return "depthwise"
    if groups == 1 and out_size[0] * out_size[1] <= SMALL_MAP:
        return "patches"
    return "xla"


def fusion_barrier(f: Callable[..., Any], x: jax.Array, *others: jax.Array) -> Any:
    """Calls `f(x, *others)` so that XLA does not fuse it with what computes its arguments.

    XLA's CPU compiler fuses elementwise producers into every consumer and computes them again for each; it drops
    `lax.optimization_barrier` before it does so. It cannot look into the branch of a conditional, and does not see that
    this condition always holds. This is worth it where a large array is read at many offsets.

    Args:
      f: A function of arrays.
      x: Its first argument, not empty.
      *others: Its other arguments.
    """
    bits = lax.bitcast_convert_type(x.ravel()[0].astype(jnp.float32), jnp.int32)
    shapes = jax.eval_shape(f, x, *others)

    def never(*_):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    return lax.cond((bits & 1) < 2, f, never, x, *others)
