"""What is frozen in a phase: written once, and read back only if it is what the checkpoint was trained with.

What the run's init gives, and no phase has trained, need not be written: it may be made again from the init, and is
refused if it is not what it was.
"""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jtransfer.core import registry
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.training import digest as digests
from jtransfer.training.checkpoint import arrays, folders
from jtransfer.training.checkpoint.damage import Damaged, found_in, together
from jtransfer.weights import formats
from jtransfer.weights.formats.lazy import Lazy

SOURCE = "source"  # what a position says of arrays that are made again: {"init", "digest", "rest", "dtypes"}
FROM_INIT: Any = "jtransfer.runs.frozen:on_host"  # of a run's folder and {path: dtype}, these arrays by their paths

Remake = Callable[[], Mapping[str, Any]]  # the arrays that are not written, by their paths, and others


def write_base(workdir: str | os.PathLike, phase: str, frozen: dict, source: Mapping[str, Any] | None = None) -> str:
    """Writes what is frozen in a phase, unless it is there already; returns its checksum.

    Args:
      workdir: the run's folder.
      phase: the name of the phase.
      frozen: the variables that are frozen in it.
      source: from `from_init`, what is not written; None writes all.
    """
    found = digests.digests(trees.flatten(frozen))
    absent = _dtypes(source or {})
    kept = {path: leaf for path, leaf in trees.flatten(frozen).items() if path not in absent}
    path = folders.base(workdir, phase)
    if kept and not _is_there(path, kept, digests.combine({one: found[one] for one in kept})):
        if path.exists() and jax.process_index() == 0:
            folders.set_aside(path)
        ocp.save(path, trees.unflatten(kept), overwrite=True)
    return digests.combine(found)


def from_init(init: str, frozen: dict, paths: Collection[str]) -> dict[str, Any]:
    """Returns what a position says under "source" of frozen arrays that are made again from the run's init.

    Args:
      init: `config.init`.
      frozen: the variables that are frozen in the phase.
      paths: of those that are not written; none returns {}.
    """
    flat = trees.flatten(frozen)
    found, dtypes = digests.digests(flat) if paths else {}, {}
    for path in sorted(paths):
        dtypes.setdefault(str(flat[path].dtype), []).append(path)
    absent = {path: checksum for path, checksum in found.items() if path in paths}
    rest = digests.combine({path: checksum for path, checksum in found.items() if path not in absent})
    return {"init": init, "digest": digests.combine(absent), "rest": rest, "dtypes": dtypes} if paths else {}


def opened(workdir: str | os.PathLike, position: Mapping[str, Any]) -> dict[str, Lazy]:
    """Returns the tensors of what is frozen in a phase, not yet checked; those that are made again are in memory.

    Args:
      workdir: the run's folder.
      position: what was saved with a checkpoint.
    """
    again = _again(workdir, position, lambda: registry.load(FROM_INIT)(workdir, _dtypes(_source(position))))
    return _written(workdir, position) | {path: _held(array) for path, array in again.items()}


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


def restore_base(workdir: str | os.PathLike, position: Mapping[str, Any], like: dict, remake: Remake | None) -> dict:
    """Returns what is frozen in a phase, each array in its sharding; all processes call it.

    Args:
      workdir: the run's folder.
      position: what was saved with a checkpoint.
      like: the shapes and shardings of what is frozen.
      remake: makes what is frozen in the phase from the run's init; called for what is not written.

    Raises:
      Damaged: it is not there, or not what the checkpoint was trained with.
      InputError: what is not written can't be made again, or is not what it was.
    """
    shapes = trees.flatten(like)
    absent = _dtypes(_source(position))
    written = {path: leaf for path, leaf in shapes.items() if path not in absent}

    def read() -> dict[str, Any]:
        found = _written(workdir, position, sum(trees.nbytes(leaf) for leaf in written.values()))
        with found_in(folders.base(workdir, position["phase"])):
            return arrays.placed(found, written)

    flat = together(read) | _again(workdir, position, remake)
    check(workdir, position, flat)
    return trees.unflatten({path: flat[path] for path in shapes})


def _written(workdir: str | os.PathLike, position: Mapping[str, Any], most: int | None = None) -> dict[str, Lazy]:
    """The lazy tensors of what is written, of `most` bytes at most, where that is known."""
    if digests.is_of_nothing(_source(position).get("rest", position["base"])):
        return {}
    path = folders.base(workdir, position["phase"])
    with found_in(path):
        return dict(formats.open_own(path / "state", most))


def _again(workdir: str | os.PathLike, position: Mapping[str, Any], remake: Remake | None) -> dict[str, Any]:
    """What is not written, made again and compared."""
    source = _source(position)
    if not source:
        return {}
    init = source["init"]
    try:
        found = remake() if remake else {}
    except InputError as error:
        raise InputError(
            f"{workdir} holds no copy of what is frozen, which is read from {init!r:.200}, and that fails: {error}"
        ) from None
    dtypes = _dtypes(source)
    missing = [path for path in dtypes if path not in found]
    flat = {path: found[path] for path in dtypes if path in found}
    now = "none" if missing else digests.combine(digests.digests(flat))
    if now != source["digest"]:
        raise InputError(
            f"{workdir} was trained on other weights than {init!r:.200} gives now: their digest was "
            f"{source['digest']}, and is {now}; put back those that it began with"
        )
    return flat


def _source(position: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a position says of arrays that are not written, checked; {} where all are."""
    match position.get(SOURCE) or {}:
        case {"init": str(), "digest": str(), "rest": str(), "dtypes": dict()} as source:
            return source
        case {}:
            return {}
    raise Damaged(f"phase {position['phase']}: what it says of its base is damaged")


def _dtypes(source: Mapping[str, Any]) -> dict[str, str]:
    """The dtype of each array that is not written, by its path."""
    return {path: dtype for dtype, paths in source.get("dtypes", {}).items() for path in paths}


def _held(array: np.ndarray) -> Lazy:
    return Lazy(array.shape, array.dtype, lambda: array)


def _is_there(path: Any, kept: Mapping[str, Any], checksum: str) -> bool:
    """Whether what is written in a folder are these arrays."""
    most = sum(trees.nbytes(leaf) for leaf in kept.values())

    def read() -> dict[str, Any]:
        with found_in(path):
            return arrays.placed(dict(formats.open_own(path / "state", most)), kept)

    try:
        return digests.matches(together(read), checksum)
    except Damaged:
        return False
