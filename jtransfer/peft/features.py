"""The inputs and outputs of a layer that is linear in a kernel, feature by feature."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jtransfer.layers.types import Array
from jtransfer.peft import layer
from jtransfer.peft.method import FIXED, Site, linear

Own = Mapping[str, Any]
Change = Callable[[Own, Own], dict[str, Any]]


def ungrouped(site: Site) -> str:
    """Why a method whose factors go over all input channels can't serve a module, or ""."""
    why = f"it is a convolution of {site.groups} groups, and no low rank is left; use lora, loha, lokr or fourierft"
    return linear(site) or (why if site.groups > 1 else "")


def ordered(site: Site) -> str:
    """Why a method that takes the input of a layer apart, feature by feature, can't serve a module, or ""."""
    return linear(site) or (
        "an Einsum has its inputs in an order of its own; use lora" if site.name == "Einsum" else ""
    )


def kernel(module: nn.Module) -> Array:
    """Returns the kernel, or the embeddings, of a bound layer."""
    return module.get_variable("params", layer.kernel_of(module.variables["params"]))


def axes(module: nn.Module, ndim: int) -> tuple[int, ...]:
    """Returns which axes of its input a dense layer sums over, in the order of its kernel's."""
    axis: Any = getattr(module, "axis", -1)
    return tuple(i % ndim for i in (axis if isinstance(axis, tuple | list) else (axis,)))


def rows(module: nn.Module, x: Array) -> Array:
    """Returns the input of a dense layer as [..., all input features]."""
    last = layer.rows(module, x)
    return last.reshape(*last.shape[: x.ndim - len(axes(module, x.ndim))], -1)


def unrows(module: nn.Module, flat: Array, like: Array) -> Array:
    """The inverse of `rows`, for an input that has the shape of `like`."""
    summed = axes(module, like.ndim)
    sizes = [like.shape[i] for i in summed]
    last = flat.reshape(*flat.shape[:-1], *sizes)
    return jnp.moveaxis(last, range(-len(summed), 0), summed)


def beside(module: nn.Module, vector: Array, ndim: int) -> Array:
    """Returns numbers of the input features of a dense layer so that they broadcast with an input of `ndim` axes."""
    wide = vector.reshape((1,) * (ndim - vector.ndim) + vector.shape)
    return jnp.moveaxis(wide, range(-vector.ndim, 0), axes(module, ndim))


def pointwise(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Returns whether a convolution of a kernel's shape mixes channels only: a dense layer of each position."""
    return layer.groups(module) == 1 and math.prod(shape[:-2]) == 1


def is_lookup(x: Array) -> bool:
    """Returns whether the input of a layer is names of rows."""
    return jnp.issubdtype(x.dtype, jnp.integer)


def added(delta: Callable[[Own, tuple[int, ...]], Array]) -> tuple[Change, Change]:
    """Returns `merge` and `unmerge` of a method that adds something to a kernel.

    Args:
      delta: `delta(own, shape)`, what is added to a kernel of a shape.
    """

    def changed(sign: int, own: Own, params: Own) -> dict[str, Any]:
        leaf = layer.kernel_of(params)
        return {**params, leaf: params[leaf] + sign * delta(own, params[leaf].shape)}

    return functools.partial(changed, 1), functools.partial(changed, -1)


def scaled(own: Own, factor: Any) -> dict[str, Any]:
    """The adapter, whose change is multiplied by `fixed/scale`, with a multiple of the change."""
    return {**own, FIXED: {**own[FIXED], "scale": own[FIXED]["scale"] * factor}}


def has_window(site: Site) -> bool:
    """Returns whether a module is a convolution that does more than mix channels."""
    return site.kind == "conv" and not (site.groups == 1 and math.prod(site.shape[:-2]) == 1)
