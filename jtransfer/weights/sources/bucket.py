"""Checkpoints in buckets, gs://, s3:// and az://."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jtransfer.core import bucket
from jtransfer.core.errors import InputError
from jtransfer.core.file_names import check
from jtransfer.weights import formats
from jtransfer.weights.formats import choice, lazy
from jtransfer.weights.sources.location import Location


def folder(scheme: str, address: str) -> Location:
    """Returns the location of a file, or of the weights in a folder, `BUCKET/PATH[:SUBTREE]`.

    Each file is asked for once, and fetched if no copy of the same size and time is in the cache. Of a folder, the
    weights are fetched that `formats.choice` chooses, or all files below it if it is one of Orbax.

    Args:
      scheme: The kind of bucket, such as "gs".
      address: What follows it.
    """
    path, _, subtree = address.partition(":")
    path = f"{scheme}://{check(path.rstrip('/'), f'{scheme}://')}"
    stat = functools.cache(bucket.stat)
    chosen = functools.cache(lambda: _chosen(path, stat))

    @functools.cache
    def fetch(file: str) -> Path | None:
        entry = stat(file)
        return None if entry is None or entry.is_directory else bucket.copied(file, entry)

    def weights() -> Path:
        entry = stat(path)
        if entry is None:
            raise InputError(f"no weights at {path!r}: it does not exist, or your credentials don't reach it")
        name = chosen()[0] if entry.is_directory else None
        place = path if name is None else f"{path}/{name}"
        for file in _files(path, stat) if entry.is_directory and name is None else (place,):
            fetch(file)
        for shard in formats.shards(bucket.local(place)) if choice.is_index(place.rpartition("/")[2]) else ():
            fetch(f"{place.rpartition('/')[0]}/{shard}")
        return bucket.local(place)

    def notes() -> tuple[str, ...]:
        entry = stat(path)
        name, files = chosen() if entry is not None and entry.is_directory else (None, [])
        shards = formats.shards(weights()) if name and choice.is_index(name) else ()
        return choice.beside(name, files, shards) if name else ()

    def beside(name: str) -> Path | None:
        entry = stat(path)
        place = path if entry is not None and entry.is_directory else path.rpartition("/")[0]
        return fetch(f"{place}/{name}")

    return Location(weights, beside, subtree, notes)


def _chosen(path: str, stat: Callable[[str], Any]) -> tuple[str | None, list[str]]:
    """The name of the weights file in a folder, and the names of its files; None where the whole folder is meant."""
    from jtransfer.weights.formats import orbax

    entries = {name: stat(f"{path}/{name}") for name in bucket.names(path)}
    files = [name for name, entry in entries.items() if entry is not None and not entry.is_directory]
    nested = [name for name in entries if name not in files]
    tree = orbax.METADATA in files or any(name in orbax.ITEMS or name.isdecimal() for name in nested)
    if tree or not (choice.candidates(files) or any(map(choice.is_trainers, files))):
        return None, files
    try:
        return choice.choose(files, nested), files
    except lazy.Malformed as error:
        raise InputError(f"{path}: {error}") from None


def _files(path: str, stat: Callable[[str], Any]) -> Iterator[str]:
    """The paths of all files below a folder."""
    for name in bucket.names(path):
        below = f"{path}/{name}"
        entry = stat(below)
        yield from _files(below, stat) if entry is not None and entry.is_directory else (below,)
