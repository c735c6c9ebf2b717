"""Adapters that a phase does not train run as in evaluation: they drop nothing."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core import tree as trees
from jtransfer.peft.method import FIXED
from jtransfer.peft.sites import COLLECTION

_RATE = f"/{FIXED}/dropout"


def still(variables: Mapping[str, Any], trainable: trees.Tree) -> dict[str, Any]:
    """Returns variables in which adapters of which all is frozen have no rate of dropout.

    Args:
      variables: by collection.
      trainable: a tree of bools by collection; adapters that it leaves out are frozen.
    """
    if COLLECTION not in variables:
        return dict(variables)
    flat, moves = trees.flatten(variables[COLLECTION]), trees.flatten(trainable.get(COLLECTION, {}))
    moving = [path for path in flat if moves.get(path)]
    kept = {
        path: leaf
        for path, leaf in flat.items()
        if not path.endswith(_RATE) or any(one.startswith(path.removesuffix(_RATE) + "/") for one in moving)
    }
    return {**variables, COLLECTION: trees.unflatten(kept)}
