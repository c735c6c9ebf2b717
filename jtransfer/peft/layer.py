"""Layers that are linear in a kernel, run with another kernel than their own."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.layers.types import Array


def run(module: nn.Module, kernel: Array, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns what a layer would return with another kernel and without its bias.

    Strides, padding, groups, axes and dtype are the layer's; the numbers of features are the kernel's.

    Args:
      module: a `Dense`, `DenseGeneral`, `Conv`, `ConvTranspose` or `Embed`.
      kernel: in the layer's form, with any number of features.
      x, args, kwargs: what the layer is called with.
    """
    if isinstance(module, nn.Embed):
        return jnp.take(kernel.astype(module.dtype or kernel.dtype), x, axis=0)
    if isinstance(module, nn.DenseGeneral):
        count = len(module.axis) if isinstance(module.axis, tuple | list) else 1
        features: Any = tuple(kernel.shape[count:])
    else:
        features = kernel.shape[-1]
    alone = module.clone(parent=None, name=None, features=features, use_bias=False)
    return alone.apply({"params": {"kernel": kernel}}, x, *args, **kwargs)


def dropped(module: nn.Module, x: Any, rate: Any) -> Any:
    """Returns `x` with each number set to zero at a rate, and the others scaled up, in training; else `x`.

    Args:
      module: whose random stream "dropout" is drawn from; where it has none, this is no training.
      x: an array.
      rate: a number or an array [] in [0, 1); or None, which drops nothing.
    """
    if rate is None or not module.has_rng("dropout"):
        return x
    keep = jax.random.bernoulli(module.make_rng("dropout"), 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - jnp.asarray(rate, x.dtype)), 0).astype(x.dtype)
