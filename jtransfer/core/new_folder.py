"""New folders that appear under their name when they are whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jtransfer.core.errors import InputError


def check_new(dest: str | os.PathLike) -> Path:
    """The absolute path of a local folder that is new or empty.

    Raises:
      InputError: it is not.
    """
    if "://" in str(dest):
        raise InputError(f"{dest}: give a local folder, and copy it where it is wanted")
    path = Path(dest).expanduser().absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{dest} exists and is not empty; give a new folder")
    return path


@contextmanager
def new(dest: str | os.PathLike) -> Iterator[Path]:
    """A folder to write into; it becomes `dest` at the end, and is removed where that is not reached."""
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
