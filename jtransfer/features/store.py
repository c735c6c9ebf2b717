"""Arrays of a data set's examples that are computed once and kept in a folder, under a key of what they are made of.

Each key is a folder with a `.npy` file for each array, which readers map into memory, and `about.json` with their
shapes, dtypes and checksums. A folder appears under its key when it is whole.
"""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core import new_folder, whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.show import say

ABOUT = "about.json"
_BLOCK = 1 << 24  # bytes that are read at a time
Arrays = Mapping[str, np.ndarray]


def find(folder: Path, key: str) -> dict[str, np.ndarray] | None:
    """Returns the arrays that are kept under a key, mapped into memory; None if there are none.

    What is damaged is told, deleted, and not there.

    Args:
      folder: The folder of all keys.
      key: The key.
    """
    place = folder / key
    if not place.is_dir():
        return None
    try:
        about = json.loads(whole_file.read(place / ABOUT))
        return {name: _checked(place / f"{name}.npy", told) for name, told in about["arrays"].items()}
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        say(f"{place} is damaged and is made anew: {' '.join(str(error).split()):.200}")
        shutil.rmtree(place, ignore_errors=True)
        return None


def write(
    folder: Path,
    size: int,
    parts: Iterable[Mapping[str, Arrays]],
    about: Mapping[str, Any],
    field: str = "teacher_cache",
) -> None:
    """Writes arrays of `size` examples under several keys.

    Where another process has written the same key meanwhile, its folder stays.

    Args:
      folder: The folder of all keys, which is made if it does not exist.
      size: The number of examples.
      parts: One after the other, the arrays [n, …] of the next n examples: key → name → array.
      about: What is told of the keys in their `about.json`.
      field: The field of the config that names the folder, for errors.

    Raises:
      InputError: The folder can't be written to.
      ValueError: There are fewer or more examples than `size`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            written: dict[str, _Writing] = {}
            for part in parts:
                for key, arrays in part.items():
                    if key not in written:
                        written[key] = stack.enter_context(_writing(folder / key, size, about))
                    _append(written[key], arrays)
    except OSError as error:
        raise InputError(
            f"{folder} can't be written to: {error.strerror or error}; set {field} to another folder"
        ) from None


_Writing = dict[str, Any]


@contextlib.contextmanager
def _writing(place: Path, size: int, about: Mapping[str, Any]):
    partial = new_folder.beside(place)
    partial.mkdir()
    state: _Writing = {"folder": partial, "size": size, "files": {}, "arrays": {}, "rows": {}}
    try:
        with contextlib.ExitStack() as files:
            state["opened"] = files
            yield state
            if any(rows != size for rows in state["rows"].values()):
                raise ValueError(f"arrays of {set(state['rows'].values())} examples, not of {size}")
            for file in state["files"].values():
                file.flush()
                os.fsync(file.fileno())
        content = json.dumps({**about, "arrays": state["arrays"]}, indent=1) + "\n"
        whole_file.write(partial / ABOUT, content.encode())
        try:
            partial.rename(place)
        except OSError:
            if not place.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _append(state: _Writing, arrays: Arrays) -> None:
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        if name not in state["files"]:
            file = state["opened"].enter_context((state["folder"] / f"{name}.npy").open("wb"))
            shape = (state["size"], *array.shape[1:])
            header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            state["files"][name], state["rows"][name] = file, 0
            state["arrays"][name] = {"shape": list(shape), "dtype": str(array.dtype), "checksum": 0}
        told = state["arrays"][name]
        if list(array.shape[1:]) != told["shape"][1:] or str(array.dtype) != told["dtype"]:
            raise ValueError(f"{name}: {array.dtype}{list(array.shape)} after {told}")
        raw = array.tobytes()
        state["files"][name].write(raw)
        told["checksum"] = zlib.crc32(raw, told["checksum"])
        state["rows"][name] += len(array)


def _checked(path: Path, told: Mapping[str, Any]) -> np.ndarray:
    if why := whole_file.problem(path):
        raise InputError(f"{path.name} {why}")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if list(array.shape) != told["shape"] or str(array.dtype) != told["dtype"]:
        raise InputError(f"{path.name} is {array.dtype}{list(array.shape)}, not what {ABOUT} says")
    checksum, flat = 0, array.reshape(-1)
    step = max(_BLOCK // array.dtype.itemsize, 1)
    for start in range(0, len(flat), step):
        checksum = zlib.crc32(flat[start : start + step].tobytes(), checksum)
    if checksum != told["checksum"]:
        raise InputError(f"{path.name} has another checksum than {ABOUT} says")
    return array
