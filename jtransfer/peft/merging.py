"""Adapters into the parameters, and out of them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, some
from jtransfer.peft import layer, slots, stacking
from jtransfer.peft.method import Site

Own = Mapping[str, Any]


def merge(params: trees.Tree, adapters: trees.Tree, sites: Mapping[str, Site] | None = None) -> dict[str, Any]:
    """Returns parameters with which the plain model computes what it does with adapters.

    It is computed in float32, whatever the dtype of the parameters, which the result has.

    Args:
      params: of the model.
      adapters: the collection.
      sites: of the model, from `peft.sites`; without them it is not known which embeddings are also the head's kernel.

    Raises:
      InputError: an adapter can't be merged, or its module has no parameters here; or it is one of embeddings that are
        also the head's kernel, which the merge would change, too.
    """
    if found := tied_among(adapters, sites or {}):
        raise InputError(
            f"{some(found)}: these embeddings are also the head's kernel, which merging the adapter would change, too; "
            "make them two with --untie of jtransfer.merge, or keep the adapter beside the model"
        )
    return _changed(params, adapters, "merge")


def tied_among(adapters: trees.Tree, sites: Mapping[str, Site]) -> list[str]:
    """Returns the paths of embeddings that have an adapter and are also the head's kernel.

    Args:
      adapters: the collection.
      sites: of the model.
    """
    paths = dict.fromkeys(path for path, _, _ in slots.split(adapters))
    return [path for path in paths if path in sites and sites[path].tied]


def unmerge(params: trees.Tree, adapters: trees.Tree) -> dict[str, Any]:
    """Returns the parameters that `merge` was given, up to rounding. Arguments and errors are as of `merge`."""
    return _changed(params, adapters, "unmerge")


def _changed(params: trees.Tree, adapters: trees.Tree, what: str) -> dict[str, Any]:
    flat, base = trees.flatten(params), trees.flatten(params)
    order = sorted(slots.split(adapters), key=lambda found: found[1], reverse=what == "unmerge")
    for path, slot, own in order:
        names = [name for name in flat if name.rpartition("/")[0] == path]
        method = slots.method_of(slot)
        change = getattr(method, what)
        if change is None:
            raise InputError(f"{path}: the adapter {slot!r} can't be {what}d; keep it beside the parameters")
        if not names:
            raise InputError(f"{path}: the adapter {slot!r} belongs to a module that has no parameters here")
        now, before = ({name.rpartition("/")[2]: tree[name] for name in names} for tree in (flat, base))
        after = _of_base(change, own, before, now) if method.of_base else _one(change, own, now)
        flat |= {f"{path}/{name}": leaf for name, leaf in after.items()}
    return trees.unflatten(flat)


def changes(path: str, adapters: Own, params: trees.Tree) -> dict[str, jax.Array]:
    """Returns what adapters of one module, all together, add to its parameters: name → change, float32.

    Args:
      path: of the module.
      adapters: slot → arrays.
      params: of the model.
    """
    before = {name: leaf for name, leaf in trees.flatten(params).items() if name.rpartition("/")[0] == path}
    kernel = layer.kernel_of({name.rpartition("/")[2] for name in before})
    shape = before[f"{path}/{kernel}"].shape if f"{path}/{kernel}" in before else ()
    known = delta(adapters, shape[stacking.axes(next(iter(adapters.values()))) :])
    if known is not None:
        return {kernel: known}
    wide = _wide(before)
    after = trees.flatten(merge(trees.unflatten(wide), _at(path, adapters)))
    return {name.rpartition("/")[2]: after[name] - leaf for name, leaf in wide.items()}


def delta(adapters: Own, shape: tuple[int, ...]) -> jax.Array | None:
    """Returns what adapters of one module, all together, add to its kernel; None where that depends on more than them.

    Args:
      adapters: slot → arrays.
      shape: of the kernel, of a module in a scan that of one layer.
    """
    found = []
    for slot, own in adapters.items():
        change = slots.method_of(slot).delta
        if change is None:
            return None
        found.append(stacking.of_each(lambda own, change=change: change(own, shape), own)(own))
    return functools.reduce(jnp.add, found) if found else None


def _at(path: str, node: Any) -> Any:
    for key in reversed(path.split("/")):
        node = {key: node}
    return node


def _of_base(change: Callable[[Own, Own], dict[str, Any]], own: Own, base: Own, now: Own) -> dict[str, Any]:
    after, wide = stacking.of_each(change, own)(own, _wide(base)), _wide(base)
    moved = {name: leaf + (after[name] - wide[name]) for name, leaf in _wide(now).items()}
    return {name: leaf.astype(now[name].dtype) for name, leaf in moved.items()}


def _one(change: Callable[[Own, Own], dict[str, Any]], own: Own, before: Own) -> dict[str, Any]:
    """The parameters of one module, each in its dtype; of a module in a scan, those of each layer."""
    after = stacking.of_each(change, own)(own, _wide(before))
    return {name: leaf.astype(before[name].dtype) if name in before else leaf for name, leaf in after.items()}


def _wide(params: Own) -> dict[str, jax.Array]:
    return {name: jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32)) for name, leaf in params.items()}
