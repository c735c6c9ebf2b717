"""Adapters onto the variables of a base model."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, some
from jtransfer.weights import maps
from jtransfer.weights.adapters import base, folder, parts
from jtransfer.weights.adapters.load import KERASHUB, Loaded, load
from jtransfer.weights.mapping import finder

Sources = str | os.PathLike | Sequence[str | os.PathLike] | Mapping[str, str | os.PathLike]
_HEADS = {  # PEFT's task → the field `head` of a model of texts
    "SEQ_CLS": "classify",
    "TOKEN_CLS": "tag",
    "CAUSAL_LM": "lm",
    "SEQ_2_SEQ_LM": "lm",
    "FEATURE_EXTRACTION": "embed",
}


def labelled(given: Sources) -> dict[str, str]:
    """Returns adapters by label, "" for one alone; those of a list are labelled by the names of their folders.

    Args:
      given: an address, several, or label → address.
    """
    if isinstance(given, str | os.PathLike):
        return {"": os.fspath(given)}
    if isinstance(given, Mapping):
        return {label: os.fspath(source) for label, source in given.items()}
    names = [os.fspath(source) for source in given]
    if len(names) < 2:
        return dict(zip(("",), names, strict=False))
    found: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name.rstrip("/").rpartition("/")[2]).strip("-") or "adapter"
        label = next(
            label for label in (stem, *(f"{stem}-{i}" for i in range(2, len(names) + 2))) if label not in found
        )
        found[label] = name
    return found


def attach(
    model: Any, variables: Mapping[str, Any], given: Sources, *, sample: Any = None
) -> tuple[dict[str, Any], tuple[Loaded, ...]]:
    """Returns the variables of a base model with adapters, whose changes add up, and the adapters.

    Args:
      model: the base.
      variables: {"params": …, "batch_stats": …} of it, and perhaps other adapters.
      given: addresses of adapters, as for `load`; label → address where they are to be told apart.
      sample: as for `load`.

    Raises:
      InputError: as for `load`; an adapter belongs to another base, or two of them bring the same parameters.
    """
    found = tuple(load(source, model, label=label, sample=sample) for label, source in labelled(given).items())
    flat = trees.flatten(variables)
    full = {path: name for name, path in rules.names(variables).items()}
    replaced: dict[str, str] = {}
    for one in found:
        base.verify(one.base, variables, one.name)
        for path, array in one.params.items():
            if path in replaced:
                raise InputError(f"{replaced[path]} and {one.name} both bring {path}; give one of the two")
            replaced[path] = one.name
            flat[full[path]] = np.asarray(array, flat[full[path]].dtype)
        for path, leaf in trees.flatten(one.adapters).items():
            if f"adapters/{path}" in flat:
                raise InputError(f"{one.name}: there is an adapter at {path} already; label them")
            flat[f"adapters/{path}"] = leaf
    return trees.unflatten(flat), found


def fields(model: Any, given: Sources) -> dict[str, Any]:
    """Returns fields of the model that adapters say: its head by PEFT's task, and how many classes theirs has.

    Args:
      model: what the base is of.
      given: addresses of adapters.
    """
    found: dict[str, Any] = {}
    for source in labelled(given).values():
        if not source.endswith(KERASHUB):
            found |= _fields(model, folder.open(source))
    return found


def _fields(model: Any, opened: folder.Folder) -> dict[str, Any]:
    task = opened.config.about.get("task_type")
    head = _HEADS.get(task or "") if isinstance(getattr(model, "head", None), str) else None
    changed: dict[str, Any] = {} if head in (None, model.head) else {"head": head}
    headed = model.clone(**changed) if changed else model
    beside = parts.sort(opened.tensors, opened.config.type, opened.name).beside
    for scheme in maps.schemes(headed):
        for name in beside:
            assignment = finder(scheme.rows, "source")(name)
            if assignment and assignment.param_paths == ("head/dense/kernel",) and name in beside:
                shape = assignment.shapes(beside)[0]
                if shape and getattr(headed, "num_classes", shape[-1]) != shape[-1]:
                    changed["num_classes"] = shape[-1]
                return changed
    return changed


def told(found: Sequence[Loaded]) -> tuple[str, ...]:
    """Returns the lines about adapters that a report has."""
    return tuple(line for one in found for line in one.lines)


def names(found: Sequence[Loaded]) -> str:
    """Returns the addresses of adapters as one text."""
    return some([one.name for one in found])
