"""Checks what the arrays of an `.npz` file state of themselves, before NumPy allocates what they state."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_LARGE = 2**28  # bytes
_MOST_TIMES = 200  # an array may be larger than its packed bytes


def check(path: Path, wanted: Callable[[str], bool]) -> None:
    """Checks those arrays of an `.npz` file that are wanted.

    Args:
      path: The path of the file.
      wanted: A function from the name of an array to whether it is read.

    Raises:
      ValueError: An array holds objects, states another size than it has, or unpacks to far more than its bytes.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if not wanted(name):
                continue
            if member.file_size > max(_LARGE, _MOST_TIMES * member.compress_size):
                raise ValueError(
                    f"the array {name!r} unpacks to {member.file_size:,} bytes from {member.compress_size:,}; store it "
                    "with np.savez"
                )
            with archive.open(member) as file:
                _check_header(file, name, member.file_size)


def _check_header(file: Any, name: str, size: int) -> None:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"the array {name!r} holds objects")
    stated = math.prod(shape) * dtype.itemsize
    if any(n < 0 for n in shape) or stated != size - file.tell():
        raise ValueError(f"the array {name!r} states {stated:,} bytes for its shape, and has {size - file.tell():,}")
