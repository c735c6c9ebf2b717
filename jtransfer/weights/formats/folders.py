"""Folders of weights: with a sharded index, or with one weights file."""

import dataclasses
import os
from collections.abc import Callable, Mapping

from jtransfer.weights.formats import choice, json_header
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened

_MAX_SHARDS = 10_000


def content(folder: str) -> tuple[list[str], list[str]]:
    """Returns the names of the files in a folder, and those of the folders in it."""
    with os.scandir(folder) as entries:
        is_folder = {entry.name: entry.is_dir() for entry in entries}
    return [name for name, nested in is_folder.items() if not nested], [name for name in is_folder if is_folder[name]]


def read_index(file: File, open_file: Callable[[str], Opened]) -> Opened:
    """Opens the tensors that a sharded index names, each from the file beside it in which the index says it is.

    Args:
      file: the index.
      open_file: a function that opens one file of weights.

    Raises:
      Malformed: the index is damaged, or a tensor is not in its file.
    """
    names = weight_map(file)
    folder = os.path.dirname(file.path)
    shards = {name: _as_written(open_file(os.path.join(folder, name)), names) for name in shard_names(names)}
    missing = [name for name, shard in names.items() if name not in shards[shard]]
    if missing:
        shown = ", ".join(f"{name[:80]!r} in {names[name]}" for name in missing[:5])
        raise Malformed(f"{len(missing)} tensors of the index are not where it says: {shown}")
    tensors: dict[str, Lazy] = {name: shards[shard][name] for name, shard in names.items()}
    left_out = [entry for opened in shards.values() for entry in opened.left_out]
    left_out += [f"{shard}:{name}" for shard, opened in shards.items() for name in opened if names.get(name) != shard]
    formats = sorted({opened.format for opened in shards.values()})
    unwrapped = tuple(dict.fromkeys(step for opened in shards.values() for step in opened.unwrapped))
    return Opened(tensors, "+".join(formats) or "index", unwrapped, tuple(left_out))


def _as_written(opened: Opened, wanted: Mapping[str, str]) -> Opened:
    """The tensors of a shard, with what was taken off their names where the index has it."""
    prefix = "".join(step for step in opened.unwrapped if step.endswith(("/", ".")))
    whole = {f"{prefix}{name}": tensor for name, tensor in opened.items()}
    return dataclasses.replace(opened, tensors=whole) if all(name in wanted for name in whole) else opened


def weight_map(file: File) -> dict[str, str]:
    """Returns the table of a sharded index: for each tensor's name, the name of the file that holds it."""
    names = json_header.parse(file.read(0, min(file.size, json_header.MAX_BYTES + 1))).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(shard, str) for shard in names.values()):
        raise Malformed("the index has no weight_map from names to file names")
    return names


def shard_names(names: dict[str, str]) -> list[str]:
    """Returns the names of the files in the table of a sharded index.

    Raises:
      Malformed: one of them is not a weights file in the folder of the index.
    """
    shards = sorted(set(names.values()))
    if len(shards) > _MAX_SHARDS:
        raise Malformed(f"the index names {len(shards):,} files; at most {_MAX_SHARDS:,} are read")
    for name in shards:
        if name in ("", ".", "..") or any(mark in name for mark in "/\\\0:") or not name.endswith(choice.SUFFIXES):
            raise Malformed(f"the index names {name[:200]!r}, which is not a weights file in the same folder")
    return shards
