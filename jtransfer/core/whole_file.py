"""Files that are read within bounds, because they may be a stranger's, and files that are written as a whole."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from etils import epath

from jtransfer.core import durable
from jtransfer.core.errors import InputError

MOST = 1 << 28  # bytes of a file that is read into memory


def problem(path: str | os.PathLike) -> str:
    """Returns why there is no file to read at a path: "" if there is one, or words such as "is a folder"."""
    if _is_remote(path):
        place = epath.Path(path)
        return "is a folder" if place.is_dir() else "" if place.exists() else "is missing"
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is a link to nothing" if os.path.islink(path) else "is missing"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return "" if stat.S_ISREG(mode) else "is a folder" if stat.S_ISDIR(mode) else "is no regular file"


def read(path: str | os.PathLike, most: int = MOST) -> bytes:
    """Returns the content of a file; a pipe or a device is not opened, and no more than `most` bytes are read.

    Raises:
      InputError: There is no regular file, it is larger, or it cannot be read.
    """
    if why := problem(path):
        raise InputError(f"{path} {why}")
    try:
        with epath.Path(path).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > most:
        raise InputError(f"{path} is larger than {most:,} bytes, which no such file is")
    return content


def write(path: str | os.PathLike, content: bytes | Callable[[Any], object]) -> None:
    """Writes a file as a whole: whenever the machine goes down, the path has the old content or all of the new.

    What is written goes into a new file beside it, `<name>.tmp`, reaches the disk, and takes the name. Links at either
    name are replaced, not followed.

    Args:
      path: The path, on this machine or in a bucket.
      content: The content, or a function that writes it into an open file.

    Raises:
      InputError: It cannot be written.
    """
    make = content if callable(content) else lambda file: file.write(content)
    place = epath.Path(path)
    new = place.with_name(place.name + ".tmp")
    try:
        if _is_remote(path):
            with new.open("wb") as file:
                make(file)  # pyright: ignore[reportArgumentType]
            new.replace(place)
            return
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
            make(file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(place)
        with contextlib.suppress(OSError):  # the file is whole under either name
            durable.names(place.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def check_links(folder: str | os.PathLike, names: Iterable[str], root: str | os.PathLike) -> None:
    """Refuses files of a folder that are links out of the folder `root`, and whose content would be copied.

    Raises:
      InputError: A file is such a link.
    """
    for name in names:
        path = os.path.join(folder, name)
        if os.path.exists(path) and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            raise InputError(f"{path} is a link out of {root}, which is not followed; put the file itself there")


def _is_remote(path: str | os.PathLike) -> bool:
    return "://" in os.fspath(path)
