"""Layers that are linear in a kernel, run with another kernel than their own."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jtransfer import layers
from jtransfer.layers.dropout import keep
from jtransfer.layers.types import Array
from jtransfer.peft import einsum

CONVOLUTIONS = (nn.Conv, nn.ConvTranspose, layers.Conv)


def run(module: nn.Module, kernel: Array, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns what a layer would return with another kernel and without its bias.

    Strides, padding, axes and dtype are the layer's; the numbers of features are the kernel's, and a convolution has as
    many groups as its kernel leaves out input channels: those of the layer, or one if it takes all channels.

    Args:
      module: a `Dense`, `DenseGeneral`, `Einsum`, `Conv`, `ConvTranspose` or `Embed`.
      kernel: in the layer's form, with any number of features.
      x, args, kwargs: what the layer is called with.
    """
    if isinstance(module, nn.Einsum):
        product = _product(module, args, kwargs)
        equation = product.equation(kernel.ndim - len(product.contracted))
        alone = _alone(module, shape=kernel.shape, einsum_str=equation, use_bias=False)
        return alone.apply({"params": {"kernel": kernel}}, x)
    if isinstance(module, nn.Embed):
        return _alone(module, features=kernel.shape[-1]).apply({"params": {"embedding": kernel}}, x)
    features: Any = kernel.shape[-1]
    more = {}
    if isinstance(module, nn.DenseGeneral):
        features = tuple(kernel.shape[contracted(module, kernel.ndim, args, kwargs) :])
    elif groups(module) > 1:
        name = "groups" if isinstance(module, layers.Conv) else "feature_group_count"
        more = {name: x.shape[-1] // kernel.shape[-2]}
    alone = _alone(module, features=features, use_bias=False, **more)
    return alone.apply({"params": {"kernel": kernel}}, x, *args, **kwargs)


def _alone(module: nn.Module, **fields: Any) -> nn.Module:
    return module.clone(parent=None, name=None, **fields)


def groups(module: nn.Module) -> int:
    """Returns the number of groups of channels of a convolution; 1 for any other layer."""
    return getattr(module, "groups", getattr(module, "feature_group_count", 1))


def masked(module: nn.Module) -> bool:
    """Returns whether a layer multiplies its kernel by a mask."""
    return getattr(module, "mask", None) is not None


def contracted(module: nn.Module, axes: int, args: Any = (), kwargs: Any = None) -> int:
    """Returns how many of the first axes of a kernel are summed over.

    Args:
      module: the layer.
      axes: the number of axes of its kernel.
      args, kwargs: what it is called with, beside its input.
    """
    if isinstance(module, nn.Einsum):
        return len(_product(module, args, kwargs or {}).contracted)
    if isinstance(module, nn.DenseGeneral):
        return len(module.axis) if isinstance(module.axis, tuple | list) else 1
    return axes - 1 if isinstance(module, CONVOLUTIONS) else min(axes, 1)


def kernel_of(params: Any) -> str:
    """Returns the name of the kernel among a layer's parameters."""
    return "embedding" if "embedding" in params else "kernel"


def rows(module: nn.Module, x: Array, *args: Any, **kwargs: Any) -> Array:
    """Returns the input of a dense layer with the axes that its kernel is summed over behind all others.

    Args:
      module: a `Dense`, `DenseGeneral` or `Einsum`.
      x, args, kwargs: what it is called with.
    """
    if isinstance(module, nn.Einsum):
        return jnp.einsum(_product(module, args, kwargs).rows, x)
    axis = getattr(module, "axis", -1)
    axes = [i % x.ndim for i in (axis if isinstance(axis, tuple | list) else (axis,))]
    return jnp.moveaxis(x, axes, range(-len(axes), 0))


def _product(module: nn.Einsum, args: Any, kwargs: Any) -> einsum.Product:
    return einsum.parse(module.einsum_str or (args[0] if args else kwargs["einsum_str"]))


def dropped(module: nn.Module, x: Any, rate: Any) -> Any:
    """Returns `x` with each number set to zero at a rate, and the others scaled up, in training; else `x`.

    Args:
      module: whose random stream "dropout" is drawn from; where it has none, this is no training.
      x: an array. Integers, which are names of rows, stay as they are.
      rate: a number or an array [] in [0, 1); or None, which drops nothing.
    """
    if rate is None or not module.has_rng("dropout") or jnp.issubdtype(x.dtype, jnp.integer):
        return x
    kept = keep(module.make_rng("dropout"), rate, x.shape)
    return jnp.where(kept, x / (1.0 - jnp.asarray(rate, x.dtype)), 0).astype(x.dtype)
