"""What is frozen in a phase: written once, and read back only if it is what the checkpoint was trained with."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jtransfer.core import tree as trees
from jtransfer.training import digest as digests
from jtransfer.training.checkpoint import arrays, folders
from jtransfer.training.checkpoint.damage import Damaged, found_in, together
from jtransfer.weights import formats


def write_base(workdir: str | os.PathLike, phase: str, frozen: dict) -> str:
    """Writes what is frozen in a phase, unless it is there already; returns its checksum."""
    found, path = digests.digest(frozen), folders.base(workdir, phase)
    if frozen and not _is_there(workdir, {"phase": phase, "base": found}, frozen):
        if path.exists() and jax.process_index() == 0:
            folders.set_aside(path)
        ocp.save(path, frozen, overwrite=True)
    return found


def opened(workdir: str | os.PathLike, position: Mapping[str, Any], most: int | None = None) -> dict[str, formats.Lazy]:
    """Returns the lazy tensors of what is frozen in a phase, not yet checked.

    Args:
      workdir: the run's folder.
      position: what was saved with a checkpoint.
      most: the bytes that they may have, where that is known.
    """
    if digests.is_of_nothing(position["base"]):
        return {}
    path = folders.base(workdir, position["phase"])
    with found_in(path):
        return dict(formats.open_own(path / "state", most))


def on_host(workdir: str | os.PathLike, position: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns what is frozen in a phase, checked, as host arrays by their paths."""
    tensors = opened(workdir, position)
    with found_in(folders.base(workdir, position["phase"])):
        flat = arrays.on_host(tensors)
    check(workdir, position, flat)
    return flat


def check(workdir: str | os.PathLike, position: Mapping[str, Any], flat: Mapping[str, Any]) -> None:
    """Raises `Damaged` if arrays are not those that a checkpoint was trained with."""
    path = folders.base(workdir, position["phase"])
    with found_in(path):
        if not digests.matches(flat, position["base"]):
            raise ValueError("it is not what the checkpoint was trained with")


def restore_base(workdir: str | os.PathLike, position: Mapping[str, Any], like: dict) -> dict:
    """Returns what is frozen in a phase, each array in its sharding; all processes call it.

    Raises:
      Damaged: it is not there, or not what the checkpoint was trained with.
    """
    shapes = trees.flatten(like)

    def read() -> dict[str, Any]:
        found = opened(workdir, position, trees.nbytes(like))
        with found_in(folders.base(workdir, position["phase"])):
            return arrays.placed(found, shapes)

    flat = together(read)
    check(workdir, position, flat)
    return trees.unflatten(flat)


def _is_there(workdir: str | os.PathLike, position: Mapping[str, Any], frozen: dict) -> bool:
    try:
        restore_base(workdir, position, frozen)
    except Damaged:
        return False
    return True
