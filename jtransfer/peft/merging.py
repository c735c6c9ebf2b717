"""Adapters into the parameters, and out of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import slots
from jtransfer.peft.init import STACKED
from jtransfer.peft.method import FIXED

Own = Mapping[str, Any]


def merge(params: trees.Tree, adapters: trees.Tree) -> dict[str, Any]:
    """Returns parameters with which the plain model computes what it does with adapters.

    It is computed in float32, whatever the dtype of the parameters, which the result has.

    Args:
      params: of the model.
      adapters: the collection.

    Raises:
      InputError: an adapter can't be merged, or its module has no parameters here.
    """
    return _changed(params, adapters, "merge")


def unmerge(params: trees.Tree, adapters: trees.Tree) -> dict[str, Any]:
    """Returns the parameters that `merge` was given, up to rounding. Arguments and errors are as of `merge`."""
    return _changed(params, adapters, "unmerge")


def _changed(params: trees.Tree, adapters: trees.Tree, what: str) -> dict[str, Any]:
    flat = trees.flatten(params)
    order = sorted(slots.split(adapters), key=lambda found: found[1], reverse=what == "unmerge")
    for path, slot, own in order:
        names = [name for name in flat if name.rpartition("/")[0] == path]
        change = getattr(slots.method_of(slot), what)
        if change is None:
            raise InputError(f"{path}: the adapter {slot!r} can't be {what}d; keep it beside the parameters")
        if not names:
            raise InputError(f"{path}: the adapter {slot!r} belongs to a module that has no parameters here")
        before = {name.rpartition("/")[2]: flat[name] for name in names}
        flat |= {f"{path}/{name}": leaf for name, leaf in _one(change, own, before).items()}
    return trees.unflatten(flat)


def _one(change: Callable[[Own, Own], dict[str, Any]], own: Own, before: Own) -> dict[str, Any]:
    """The parameters of one module, each in its dtype; of a module in a scan, those of each layer."""
    fixed = own.get(FIXED, {})
    for _ in range(fixed[STACKED].ndim if STACKED in fixed else 0):
        change = jax.vmap(change)
    wide = {name: jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32)) for name, leaf in before.items()}
    after = change(own, wide)
    return {name: leaf.astype(before[name].dtype) if name in before else leaf for name, leaf in after.items()}
