"""Checkpoints in buckets of Google Cloud Storage. What is fetched is kept in ~/.cache/jtransfer/gs."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights.sources.location import Location


def folder(address: str) -> Location:
    """Returns the location of a file, or of a folder with all files below it, `BUCKET/PATH[:SUBTREE]`.

    Each file is asked for once, and fetched if no copy of the same size and time is in the cache.
    """
    path, _, subtree = address.partition(":")
    path = path.rstrip("/")
    stat = functools.cache(_stat)

    @functools.cache
    def fetch(file: str) -> Path | None:
        entry = stat(file)
        return None if entry is None or entry.is_directory else _copied(file, entry)

    def weights() -> Path:
        entry = stat(path)
        if entry is None:
            raise InputError(f"no weights at 'gs://{path}': it does not exist, or your credentials don't reach it")
        for file in _files(path, stat) if entry.is_directory else (path,):
            fetch(file)
        return _local(path)

    def beside(name: str) -> Path | None:
        entry = stat(path)
        place = path if entry is not None and entry.is_directory else path.rpartition("/")[0]
        return fetch(f"{place}/{name}")

    return Location(weights, beside, subtree)


def _stat(path: str) -> Any:
    """What the bucket says of a path: its kind, size and time; None if there is nothing."""
    with _failures(path), contextlib.suppress(FileNotFoundError):
        return _remote(path).stat()
    return None


def _files(path: str, stat: Callable[[str], Any]) -> Iterator[str]:
    """The paths of all files below a folder."""
    with _failures(path):
        names = [entry.name for entry in _remote(path).iterdir()]
    for name in names:
        if name in (".", ".."):
            raise InputError(f"gs://{path} has an object called {name!r}; rename it")
        below = f"{path}/{name}"
        entry = stat(below)
        yield from _files(below, stat) if entry is not None and entry.is_directory else (below,)


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
