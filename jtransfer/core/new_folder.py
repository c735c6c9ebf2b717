"""Folders that are written as a whole: they appear under their name when they are complete, or not at all."""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from jtransfer.core.errors import InputError
from jtransfer.core.show import say

_SUFFIX = ".part"


def check_new(dest: str | os.PathLike) -> Path:
    """Returns the absolute path of a local folder that does not exist yet or is empty, whose links are followed.

    Raises:
      InputError: The path is not local, there is something at it, or no folder can be made there.
    """
    if "://" in str(dest):
        raise InputError(f"{dest}: give a local folder, and copy it where it is wanted")
    path = Path(os.path.realpath(Path(dest).expanduser()))
    try:
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{dest} exists and is not empty; give a new folder")
    except OSError as error:
        raise InputError(f"{dest} can't be looked at: {error.strerror}; give a new folder") from None
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"no folder can be made in {above}; give another place than {dest}")
    return path


def beside(path: Path) -> Path:
    """Returns a path beside `path`, of the same name with a random number and ".part", at which there is nothing."""
    return path.with_name(f"{path.name[:60]}.{secrets.token_hex(4)}{_SUFFIX}")


def tell_leftovers(dest: str | os.PathLike) -> None:
    """Prints the temporary folders of `dest` that stand beside it.

    They are of calls that were killed, or are still at work. They are not removed, for nobody but their maker knows.
    """
    path = Path(os.path.realpath(Path(dest).expanduser()))
    ours = re.compile(rf"{re.escape(path.name[:60])}\.[0-9a-f]{{8}}{re.escape(_SUFFIX)}")
    near = path.parent.iterdir() if path.parent.is_dir() else ()
    for found in sorted(found for found in near if ours.fullmatch(found.name) and found.is_dir()):
        say(f"{found} is of a call that was killed or is still at work; if none is, delete it")


@contextlib.contextmanager
def new(dest: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary folder to write into, which becomes `dest` when the context ends without an error.

    Where it ends with an error, the temporary folder is removed, and nothing else is.

    Raises:
      InputError: As for `check_new`; or there is something at `dest` when the folder is whole, which then keeps its
        temporary name.
    """
    path = check_new(dest)
    partial, made = beside(path), [folder for folder in path.parents if not folder.exists()]
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
    try:
        partial.rename(path)  # replaces an empty folder, and no other
    except OSError as error:
        raise InputError(
            f"{dest} can't be written: {error.strerror}; what it was to hold is whole in {partial}"
        ) from None
