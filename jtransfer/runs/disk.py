"""What a disk refuses while a run writes, said in one line: no space, no permission, a folder that is gone."""

import contextlib
import os
import re
from collections.abc import Iterator

from etils import epath

from jtransfer.core import refusals
from jtransfer.core.errors import InputError

_MISSING = re.compile("No such file or directory|does not exist|NOT_FOUND|No ArrayMetadata")


@contextlib.contextmanager
def told(folder: str | os.PathLike) -> Iterator[None]:
    """A context in which a run writes into its folder.

    Raises:
      InputError: The disk refuses it; with the place, as far as it is known, and the reason.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        if reason := refusals.reason(error):
            place = getattr(error, "filename", None) or folder
            raise InputError(f"{place} can't be written: {reason}; see to it, and {_AGAIN}") from error
        raise


@contextlib.contextmanager
def there(folder: str | os.PathLike) -> Iterator[None]:
    """A context in which the folder of a run is there; an error in it is an InputError that says so if it is not."""
    try:
        yield
    except Exception as error:
        missing = not isinstance(error, InputError) and _MISSING.search(str(error)) and str(folder) in str(error)
        if missing or not _is_there(folder):
            raise gone(folder) from error
        raise


def check(folder: str | os.PathLike) -> None:
    """Raises an InputError if the folder of a run that has begun is not there any more."""
    if not _is_there(folder):
        raise gone(folder)


def gone(folder: str | os.PathLike) -> InputError:
    """Returns the error of a folder that was removed or renamed while its run went on."""
    return InputError(f"{folder}, or a part of it, was removed or renamed during the run; put it back, and {_AGAIN}")


_AGAIN = "the same command goes on from the last checkpoint"


def _is_there(folder: str | os.PathLike) -> bool:
    return (epath.Path(folder) / "config.json").exists()
