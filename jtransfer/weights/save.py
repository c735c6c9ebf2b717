"""Writes variables under another library's names: the maps, read right to left."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.weights import maps
from jtransfer.weights.mapping import Scheme, finder, unique

OWN = "jtransfer"


def save(
    variables: Mapping[str, Any],
    model: Any,
    dest: str | os.PathLike,
    *,
    format: str = "safetensors",
    scheme: str | None = None,
) -> Path:
    """Writes `variables` of `model` to the file `dest`, which may not exist yet.

    Args:
      variables: {"params": …, "batch_stats": …}, as `load` returns them; all leaves are written.
      model: a model of `jtransfer.models`.
      dest: the file's path.
      format: "safetensors" or "npz".
      scheme: whose names and layouts to write, such as "torchvision", or "jtransfer" for our own, as
        "params/stem/conv/kernel"; default: the family's first.

    Raises:
      InputError: unknown format or scheme, a parameter that the scheme has no name for, or `dest` exists.
    """
    if format not in WRITERS:
        raise unknown("weights format to write", format, WRITERS)
    dest = Path(dest)
    if dest.exists():
        raise InputError(f"{dest} exists; give another path")
    tensors = to_foreign(variables, model, scheme=scheme)
    partial = dest.with_name(dest.name + ".part")
    WRITERS[format](tensors, partial)
    partial.rename(dest)
    return dest


def to_foreign(variables: Mapping[str, Any], model: Any, *, scheme: str | None = None) -> dict[str, np.ndarray]:
    """Checkpoint name → host array of everything in `variables`; the inverse of `load`. Raises as `save` does."""
    if scheme == OWN:
        return {full: np.asarray(leaf, order="C") for full, leaf in trees.flatten(variables).items()}
    table = _scheme(model, scheme)
    leaves = {path: trees.flatten(variables)[full] for full, path in rules.names(variables).items()}
    link_of = finder(table.rows, "ours")
    links = {path: link_of(path) for path in leaves}
    homeless = [path for path, link in links.items() if link is None or any(part not in leaves for part in link.ours)]
    if homeless:
        listed = "\n".join(f" + {path}" for path in homeless)
        raise InputError(f"{table.name} has no names for these parameters of {type(model).__name__}:\n{listed}")
    tensors: dict[str, np.ndarray] = {}
    for link in unique(links.values()):
        arrays = link.save(*(np.asarray(leaves[path]) for path in link.ours))
        tensors |= {name: np.asarray(array, order="C") for name, array in zip(link.foreign, arrays, strict=True)}
    return tensors


def _scheme(model: Any, name: str | None) -> Scheme:
    known = {scheme.name: scheme for scheme in maps.schemes(model)}
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        raise unknown(f"naming scheme of {type(model).__name__}", name, (*known, OWN))
    return known[name]


def _write_safetensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(dict(tensors), path, metadata={"format": "pt"})


def _write_npz(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **tensors)


WRITERS = {"safetensors": _write_safetensors, "npz": _write_npz}
