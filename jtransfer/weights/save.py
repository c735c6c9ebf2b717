"""Writes variables under another library's names: the maps, read right to left."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core import new_folder, rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.weights import maps
from jtransfer.weights.mapping import Assignment, Scheme, finder, unique

OWN = "jtransfer"


def save(
    variables: Mapping[str, Any],
    model: Any,
    dest: str | os.PathLike,
    *,
    format: str = "safetensors",
    scheme: str | None = None,
) -> Path:
    """Writes the variables of a model to a file under the names of another library, and returns the file's path.

    Args:
      variables: {"params": …, "batch_stats": …}, as `load` returns them; all of them are written.
      model: a model of `jtransfer.models`.
      dest: the file's path, at which there is nothing yet.
      format: "safetensors" or "npz".
      scheme: the naming scheme to write, such as "torchvision", or "jtransfer" for the paths of the variables
        themselves, such as "params/stem/conv/kernel"; by default, the first scheme of the model's family.

    Raises:
      InputError: the format or the scheme is unknown, a parameter has no name in the scheme, or `dest` exists.
    """
    if format not in WRITERS:
        raise unknown("weights format to write", format, WRITERS)
    dest = Path(dest)
    if dest.exists():
        raise InputError(f"{dest} exists; give another path")
    tensors = to_tensors(variables, model, scheme=scheme)
    partial = new_folder.beside(dest)
    try:
        WRITERS[format](tensors, partial)
        partial.rename(dest)
    finally:
        partial.unlink(missing_ok=True)
    return dest


def to_tensors(variables: Mapping[str, Any], model: Any, *, scheme: str | None = None) -> dict[str, np.ndarray]:
    """Returns the variables of a model as host arrays by the names of another library; the inverse of `load`.

    Args:
      variables: {"params": …, "batch_stats": …}, as `load` returns them.
      model: a model of `jtransfer.models`.
      scheme: as for `save`.

    Raises:
      InputError: the scheme is unknown, or a parameter has no name in it.
    """
    if scheme == OWN:
        return {full: np.asarray(leaf, order="C") for full, leaf in trees.flatten(variables).items()}
    params = {path: trees.flatten(variables)[full] for full, path in rules.names(variables).items()}
    tensors: dict[str, np.ndarray] = {}
    for assignment in assignments(params, model, scheme):
        arrays = assignment.save(*(np.asarray(params[path]) for path in assignment.param_paths))
        names = assignment.source_names
        tensors |= {name: np.asarray(array, order="C") for name, array in zip(names, arrays, strict=True)}
    return tensors


def assignments(params: Collection[str], model: Any, scheme: str | None = None) -> list[Assignment]:
    """Returns which tensors of a library each parameter of a model goes into.

    Args:
      params: the paths of the model's parameters.
      model: a model of `jtransfer.models`.
      scheme: as for `save`, but for "jtransfer".

    Raises:
      InputError: the scheme is unknown, or a parameter has no name in it.
    """
    table = _scheme(model, scheme)
    assignment_of = finder(table.rows, "params")
    found = {path: assignment_of(path) for path in params}
    nameless = [path for path, a in found.items() if a is None or any(part not in params for part in a.param_paths)]
    if nameless:
        listed = "\n".join(f" + {path}" for path in nameless)
        raise InputError(f"{table.name} has no names for these parameters of {type(model).__name__}:\n{listed}")
    return list(unique(a for a in found.values() if a is not None))


def _scheme(model: Any, name: str | None) -> Scheme:
    maps.family(model)
    known = {scheme.name: scheme for scheme in maps.schemes(model)}
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        raise unknown(f"naming scheme of {type(model).__name__}", name, (*known, OWN))
    return known[name]


def _write_safetensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(dict(tensors), path, metadata={"format": "pt"})


def _write_npz(tensors: Mapping[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **tensors)


WRITERS = {"safetensors": _write_safetensors, "npz": _write_npz}
