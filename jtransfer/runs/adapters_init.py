"""The adapter that a run begins with: `config.adapters_init`, a folder of Hugging Face's PEFT, of the base `init`."""

from typing import Any

import jax
import numpy as np

from jtransfer.core import rules, sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import slots
from jtransfer.weights.adapters import base
from jtransfer.weights.adapters.load import Loaded, load

Run = Any  # build.Run
COLLECTION = "adapters"
_READ: dict[tuple[str, str], Loaded] = {}  # of this process, by address and model


def of(run: Run) -> Loaded | None:
    """Returns the adapter that a run begins with; None where it begins with none.

    Raises:
      InputError: it does not fit the model, or the run has no base.
    """
    address = run.config.adapters_init
    if not address:
        return None
    if run.config.init == "scratch":
        raise InputError(f"adapters_init={address!r} is of a base, and init is 'scratch'; give the base as init")
    key = address, repr(run.model)
    if key not in _READ:
        _READ[key] = load(address, run.model, sample=run.sample)
    return _READ[key]


def paths(run: Run) -> set[str]:
    """Returns the paths, without the collection, of the model's own parameters that come with the adapter."""
    found = of(run)
    return set(found.params) if found else set()


def joined(run: Run, drawn: trees.Tree) -> dict[str, Any]:
    """Returns adapters that were drawn with those that the run begins with, which count where both are of a module.

    Args:
      run: the run.
      drawn: the collection that `config.adapters` asks for, or {}.
    """
    found = of(run)
    if found is None:
        return dict(drawn)
    begun = {f"{path}/{slot}/" for path, slot, _ in slots.split(found.adapters)}
    flat = {path: leaf for path, leaf in trees.flatten(drawn).items() if not path.startswith(tuple(begun))}
    return trees.unflatten(flat | trees.flatten(found.adapters))


def put(run: Run, variables: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the variables that a run begins with, with what came with the adapter in its place, and lines about it.

    Args:
      run: the run.
      variables: of the base, each in its sharding.

    Raises:
      InputError: as for `of`; or the adapter belongs to another base.
    """
    found = of(run)
    if found is None:
        return variables, ()
    if jax.process_count() == 1:
        base.verify(found.base, variables, found.name)
    flat = trees.flatten(variables)
    full = {path: name for name, path in rules.names(variables).items()}
    for path, array in found.params.items():
        like = flat[full[path]]
        flat[full[path]] = sharding.place(np.asarray(array, like.dtype), like.sharding)
    return trees.unflatten(flat), found.lines
