"""Checkpoints in buckets of Google Cloud Storage. What is fetched is kept in ~/.cache/jtransfer/gs."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.formats import choice, lazy
from jtransfer.weights.sources import names
from jtransfer.weights.sources.location import Location


def folder(address: str) -> Location:
    """Returns the location of a file, or of the weights in a folder, `BUCKET/PATH[:SUBTREE]`.

    Each file is asked for once, and fetched if no copy of the same size and time is in the cache. Of a folder, the
    weights are fetched that `formats.choice` chooses, or all files below it if it is one of Orbax.
    """
    path, _, subtree = address.partition(":")
    path = names.check(path.rstrip("/"), "gs://")
    stat = functools.cache(_stat)
    chosen = functools.cache(lambda: _chosen(path, stat))

    @functools.cache
    def fetch(file: str) -> Path | None:
        entry = stat(file)
        return None if entry is None or entry.is_directory else _copied(file, entry)

    def weights() -> Path:
        entry = stat(path)
        if entry is None:
            raise InputError(f"no weights at 'gs://{path}': it does not exist, or your credentials don't reach it")
        name = chosen()[0] if entry.is_directory else None
        place = path if name is None else f"{path}/{name}"
        for file in _files(path, stat) if entry.is_directory and name is None else (place,):
            fetch(file)
        for shard in formats.shards(_local(place)) if choice.is_index(place.rpartition("/")[2]) else ():
            fetch(f"{place.rpartition('/')[0]}/{shard}")
        return _local(place)

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

    entries = {name: stat(f"{path}/{name}") for name in _names(path)}
    files = [name for name, entry in entries.items() if entry is not None and not entry.is_directory]
    nested = [name for name in entries if name not in files]
    tree = orbax.METADATA in files or any(name in orbax.ITEMS or name.isdecimal() for name in nested)
    if tree or not (choice.candidates(files) or any(map(choice.is_trainers, files))):
        return None, files
    try:
        return choice.choose(files, nested), files
    except lazy.Malformed as error:
        raise InputError(f"gs://{path}: {error}") from None


def _stat(path: str) -> Any:
    """What the bucket says of a path: its kind, size and time; None if there is nothing."""
    with _failures(path), contextlib.suppress(FileNotFoundError):
        return _remote(path).stat()
    return None


def _files(path: str, stat: Callable[[str], Any]) -> Iterator[str]:
    """The paths of all files below a folder."""
    for name in _names(path):
        below = f"{path}/{name}"
        entry = stat(below)
        yield from _files(below, stat) if entry is not None and entry.is_directory else (below,)


def _names(path: str) -> list[str]:
    """The names in a folder."""
    with _failures(path):
        found = [entry.name for entry in _remote(path).iterdir()]
    return [names.check(name, f"gs://{path}") for name in found if name]


def _copied(path: str, entry: Any) -> Path:
    """The local copy of a file, which has the file's time."""
    local = _local(path)
    if local.is_file() and (local.stat().st_size, local.stat().st_mtime) == (entry.length, entry.mtime):
        return local
    local.parent.mkdir(parents=True, exist_ok=True)
    partial = local.with_name(f"{local.name}.{os.getpid()}.part")
    with _failures(path):
        _remote(path).copy(partial, overwrite=True)
    os.utime(partial, (entry.mtime, entry.mtime))
    partial.rename(local)
    return local


def _local(path: str) -> Path:
    return Path.home() / ".cache" / "jtransfer" / "gs" / path


def _remote(path: str) -> Any:
    from etils import epath

    return epath.Path(f"gs://{path}")


@contextlib.contextmanager
def _failures(path: str) -> Iterator[None]:
    """Says in one line why a bucket can't be read; its client raises errors of many types."""
    try:
        yield
    except (FileNotFoundError, InputError):
        raise
    except ImportError as error:
        raise InputError(f"gs://{path} can't be read: {error} (pip install 'jtransfer[gcs]')") from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"gs://{path} can't be read: {reason}") from None
