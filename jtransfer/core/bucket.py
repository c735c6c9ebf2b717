"""Files in buckets, gs://, s3:// and az://. What is fetched is kept in ~/.cache/jtransfer, by kind of bucket."""

import contextlib
import datetime
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.core.file_names import check

EXTRAS = {"gs": "gcs", "s3": "s3", "az": "az"}
"""Kind of bucket → the extra that installs its client."""


class Entry(NamedTuple):
    """What a bucket says of a path.

    Attributes:
      is_directory: Whether it is a folder.
      length: The size of a file, in bytes.
      mtime: When it was last changed, in seconds.
    """

    is_directory: bool
    length: int
    mtime: float


def is_address(address: str | os.PathLike) -> bool:
    """Returns whether something is an address in a bucket."""
    scheme, separator, _ = os.fspath(address).partition("://")
    return bool(separator) and scheme in EXTRAS


def stat(address: str) -> Entry | None:
    """Returns what the bucket says of an address; None if there is nothing.

    Raises:
      InputError: The bucket can't be read.
    """
    with reaching(address), contextlib.suppress(FileNotFoundError):
        found = _remote(address).stat()
        told = found.is_directory or found.mtime
        return Entry(found.is_directory, found.length, found.mtime if told else _changed(address))
    return None


def _changed(address: str) -> float:
    """When a file was changed, by the clients whose names for that epath does not know."""
    from etils.epath import backend

    info = backend.fsspec_backend.fs(address).info(address)
    told = info.get("LastModified", info.get("last_modified"))
    if isinstance(told, str):
        told = datetime.datetime.fromisoformat(told)
    if not isinstance(told, datetime.datetime):
        raise OSError("the bucket does not say when its files were changed")
    return told.timestamp()


def names(address: str) -> list[str]:
    """Returns the names in a folder of a bucket.

    Raises:
      InputError: The bucket can't be read, or a name leads out of its folder.
    """
    with reaching(address):
        found = [entry.name for entry in _remote(address).iterdir()]
    return [check(name, address) for name in found if name]


def local(address: str) -> Path:
    """Returns the path on this machine of the copy of an address."""
    scheme, _, path = address.partition("://")
    return Path.home() / ".cache" / "jtransfer" / scheme / path


def copied(address: str, entry: Entry) -> Path:
    """Returns the path of the copy of a file, which is fetched if there is none of the same size and time.

    Raises:
      InputError: The bucket can't be read.
    """
    copy = local(address)
    if copy.is_file() and (copy.stat().st_size, copy.stat().st_mtime) == (entry.length, entry.mtime):
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    partial = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    with reaching(address):
        _remote(address).copy(partial, overwrite=True)
    os.utime(partial, (entry.mtime, entry.mtime))
    partial.rename(copy)
    return copy


def fetched(address: str) -> Path | None:
    """Returns the path of the copy of a file, or of a whole folder without what is no more in it; None if it is gone.

    Raises:
      InputError: The bucket can't be read.
    """
    scheme, _, path = address.partition("://")
    address = f"{scheme}://{check(path.rstrip('/'), f'{scheme}://')}"
    entry = stat(address)
    if entry is None:
        return None
    if not entry.is_directory:
        return copied(address, entry)
    held = names(address)
    local(address).mkdir(parents=True, exist_ok=True)
    for name in held:
        fetched(f"{address}/{name}")
    for copy in local(address).iterdir():
        if copy.name not in held:
            shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
    return local(address)


@contextlib.contextmanager
def reaching(address: str | os.PathLike) -> Iterator[None]:
    """A context that says in one line why a bucket can't be read; its clients raise errors of many types.

    Raises:
      InputError: The bucket can't be read.
    """
    try:
        yield
    except (FileNotFoundError, InputError):
        raise
    except ImportError as error:
        extra = EXTRAS[os.fspath(address).partition("://")[0]]
        raise InputError(f"{address} can't be read: {error} (pip install 'jtransfer[{extra}]')") from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{address} can't be read: {reason}") from None


def _remote(address: str) -> Any:
    from etils import epath

    return epath.Path(address)
