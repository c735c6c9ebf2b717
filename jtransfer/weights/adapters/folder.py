"""A folder of Hugging Face's PEFT: `adapter_config.json`, the tensors beside it, and our own note of the base."""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError, some
from jtransfer.weights import formats, sources
from jtransfer.weights.adapters import base
from jtransfer.weights.adapters.config import FILE, Config, read
from jtransfer.weights.identify import sidecar_files

TENSORS = ("adapter_model.safetensors", "adapter_model.bin")


class Folder(NamedTuple):
    """An adapter that is opened; no tensor is read.

    Attributes:
      name: the address.
      config: what its adapter_config.json says.
      tensors: by name; each has a shape, a dtype and `read()`.
      base: the note of the base, where there is one.
      notes: lines about what was read of several.
    """

    name: str
    config: Config
    tensors: Mapping[str, Any]
    base: base.Base | None
    notes: tuple[str, ...] = ()


def open(source: str | os.PathLike) -> Folder:
    """Opens the folder of an adapter.

    Args:
      source: a local folder, or that of the adapter's name in it if there is one alone; `hf://org/name[@revision]`; or
        `gs://bucket/path`.

    Raises:
      InputError: there is no adapter, its config says what is not done here, or a file is damaged.
    """
    place, notes = _inner(os.fspath(source))
    location = sources.locate(place)
    config = location.file(FILE)
    if config is None:
        raise InputError(f"{place} is no adapter: it has no {FILE}; give a folder that PEFT's save_pretrained wrote")
    there = ((name, path) for name in TENSORS if (path := location.file(name)))
    found = list(itertools.islice(there, 1 if "://" in place else None))  # of a hub, no second one is fetched
    if not found:
        raise InputError(f"{place} has no tensors: {' and '.join(TENSORS)} are missing")
    (_, path), *others = found
    notes += [f"read {found[0][0]}; {name} lies beside it and was not read" for name, _ in others]
    return Folder(
        place,
        read(sidecar_files.read_json(config), os.path.join(place, FILE)),
        formats.open(path),
        base.read(location.file(base.FILE)),
        tuple(notes),
    )


def is_adapter(source: str | os.PathLike) -> bool:
    """Returns whether a local folder, or one that is alone in it, is that of an adapter."""
    folder = Path(source)
    return folder.is_dir() and ((folder / FILE).exists() or bool(_named(folder)))


def _inner(source: str) -> tuple[str, list[str]]:
    """The folder itself, or the one below it that holds an adapter under a name of its own."""
    folder = Path(source).expanduser()
    if "://" in source or not folder.is_dir() or (folder / FILE).exists():
        return source, []
    named = _named(folder)
    if len(named) > 1:
        raise InputError(f"{source} holds several adapters: {some(named)}; give one of these folders")
    if not named:
        return source, []
    return str(folder / named[0]), [f"the adapter {named[0]!r} in {source}"]


def _named(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))
