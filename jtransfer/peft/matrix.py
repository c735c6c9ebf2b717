"""A kernel as one matrix [inputs, outputs], for methods that see it as such.

Which axes of a kernel are those of the input can't be told from its shape, so an adapter keeps it as the shape of an
array below "fixed": `contracted` [n] of a dense layer whose kernel has n axes of the input, `window` [n] of a
convolution over n axes. A convolution's rows are its input channels, and within each the window, as in PyTorch.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.layers.types import Array
from jtransfer.peft.method import Site


def marks(site: Site) -> dict[str, jax.Array]:
    """Returns what an adapter keeps of a layer for `of` and `back`."""
    if site.kind == "conv":
        return {"window": jnp.zeros(site.contracted - 1)}
    return {"contracted": jnp.zeros(site.contracted)}


def of(kernel: Array, fixed: Mapping[str, Any]) -> Array:
    """Returns a kernel as a matrix."""
    if "window" in fixed:
        kernel = jnp.moveaxis(kernel, fixed["window"].shape[0], 0)
    return kernel.reshape(math.prod(kernel.shape[: _count(fixed)]), -1)


def back(matrix: Array, fixed: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
    """Returns a matrix as a kernel of a shape."""
    if "window" not in fixed:
        return matrix.reshape(shape)
    *window, channels = inputs(fixed, shape)
    return jnp.moveaxis(matrix.reshape(channels, *window, *shape[_count(fixed) :]), 0, len(window))


def inputs(fixed: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the axes of the input of a kernel of a shape."""
    return shape[: _count(fixed)]


def size(fixed: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns the numbers of rows and columns of the matrix of a kernel of a shape."""
    return math.prod(shape[: _count(fixed)]), math.prod(shape[_count(fixed) :])


def _count(fixed: Mapping[str, Any]) -> int:
    return fixed["window"].shape[0] + 1 if "window" in fixed else fixed["contracted"].shape[0]
