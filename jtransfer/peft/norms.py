"""How far adapters move the parameters of the modules that they adapt."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import slots
from jtransfer.peft.merging import merge


class Norms(NamedTuple):
    """Frobenius norms of what an adapted module holds.

    Attributes:
      change: of the change of its parameters.
      before: of those parameters that are changed, without the change.
    """

    change: float
    before: float


def norms(params: trees.Tree, adapters: trees.Tree) -> dict[str, Norms]:
    """Returns how far adapters move the parameters of each module, by its path; modules whose adapters can't be merged
    are left out. One module is merged at a time.

    Args:
      params: of the model.
      adapters: the collection.
    """
    own: dict[str, dict[str, Any]] = {}
    for path, slot, arrays in slots.split(adapters):
        own.setdefault(path, {})[slot] = arrays
    flat, found = trees.flatten(params), {}
    for path, held in own.items():
        before = {name: leaf for name, leaf in flat.items() if name.startswith(f"{path}/")}
        try:
            after = trees.flatten(merge(trees.unflatten(before), trees.unflatten({path: held})))
        except InputError:
            continue
        found[path] = _norms(before, after)
    return found


def _norms(before: Mapping[str, Any], after: Mapping[str, Any]) -> Norms:
    wide = {name: np.asarray(leaf, np.float32) for name, leaf in before.items()}
    changes = {name: np.asarray(after[name], np.float32) - leaf for name, leaf in wide.items()}
    moved = [name for name, change in changes.items() if change.any()]
    return Norms(*(float(np.sqrt(sum(np.sum(held[name] ** 2) for name in moved))) for held in (changes, wide)))
