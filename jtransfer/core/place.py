"""Folders that may lie on this machine or in a bucket."""

import os

from etils import epath

from jtransfer.core import bucket
from jtransfer.core.errors import InputError


def place_of(source: str | os.PathLike) -> epath.Path | None:
    """Returns the path of a folder that lies on this machine or in a bucket that runs are written into.

    Args:
      source: A path or an address.

    Returns:
      The path, or None for other addresses, such as `hf://org/name`.
    """
    known = "://" not in str(source) or str(source).startswith("gs://")
    return epath.Path(source) if known else None


def run_folder(folder: str | os.PathLike) -> epath.Path:
    """Returns the path of the folder of a run, to read it. Of s3:// and az:// that is the path of a copy.

    Raises:
      InputError: It is an address of weights, there is no such folder, or its bucket can't be read.
    """
    place = place_of(folder)
    if place is None and bucket.is_address(folder):
        copy = bucket.fetched(os.fspath(folder))
        place = None if copy is None else epath.Path(copy)
    elif place is None:
        raise InputError(
            f"{folder} is an address of weights and no run; give the folder of a run, such as one that begins with "
            f"--config.init={folder}"
        )
    with bucket.reaching(folder):
        if place is not None and place.is_dir():
            return place
    raise InputError(f"{folder}: no such folder; give the folder of a run")


def check_writable(folder: str | os.PathLike) -> None:
    """Checks that a run can be written into a folder: that it lies on this machine, or in a bucket that can be reached.

    Raises:
      InputError: It is another address.
    """
    place = place_of(folder)
    if place is None:
        raise InputError(f"{folder}: a run is written into a folder of this machine or of gs://; copy it afterwards")
    if "://" in os.fspath(folder):
        with bucket.reaching(folder):
            place.exists()
