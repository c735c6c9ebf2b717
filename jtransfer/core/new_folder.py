"""Folders that are written as a whole: they appear under their name when they are complete, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jtransfer.core.errors import InputError


def check_new(dest: str | os.PathLike) -> Path:
    """Returns the absolute path of a local folder that does not exist yet or is empty.

    Raises:
      InputError: The path is not local, or there is something at it.
    """
    if "://" in str(dest):
        raise InputError(f"{dest}: give a local folder, and copy it where it is wanted")
    path = Path(dest).expanduser().absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{dest} exists and is not empty; give a new folder")
    return path


@contextmanager
def new(dest: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary folder to write into, which becomes `dest` when the context ends without an error.

    Where it ends with an error, the temporary folder is removed.

    Raises:
      InputError: As for `check_new`.
    """
    path = check_new(dest)
    partial = path.with_name(path.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
