"""A whole change of a layer's parameters, kept beside them: what a combination of adapters may need."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.peft import features, layer
from jtransfer.peft.method import FIXED, Method, Site, linear

Own = Mapping[str, Any]


def init(key: jax.Array, site: Site, params: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter of one layer: the change of its kernel, zeros.

    Args:
      key: a random key, unused.
      site: the layer.
      params: of the layer.
    """
    return {site.leaf: jnp.zeros(site.shape), FIXED: {"scale": jnp.float32(1)}}


def change(own: Own) -> dict[str, jax.Array]:
    """What is added to each parameter."""
    return {name: own[FIXED]["scale"] * leaf for name, leaf in own.items() if name != FIXED}


def apply(module: Any, own: Own, call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it what it would with the change as its kernel."""
    y, added = call(x, *args, **kwargs), change(own)
    for name in added.keys() & {"kernel", "embedding"}:
        y = y + layer.run(module, added[name], x, *args, **kwargs).astype(y.dtype)
    return y + added["bias"].astype(y.dtype) if "bias" in added else y


def merge(own: Own, params: Own) -> dict[str, Any]:
    """The parameters of the layer with the changes added."""
    return {**params, **{name: params[name] + leaf for name, leaf in change(own).items()}}


def unmerge(own: Own, params: Own) -> dict[str, Any]:
    """The inverse of `merge`."""
    return {**params, **{name: params[name] - leaf for name, leaf in change(own).items()}}


METHOD = Method(init, apply, linear, merge, unmerge, scale=features.scaled)
