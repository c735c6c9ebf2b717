"""numpy's `.npz`: a zip archive of `.npy` arrays, as big_vision and the ViT releases write them (bfloat16 as void2).

The `.npy` header is parsed as a literal, never evaluated; arrays of objects, which are pickles, are left out.
"""

import ast
import math
import re

import ml_dtypes
import numpy as np

from jtransfer.weights.formats import zips
from jtransfer.weights.formats.files import File, typed
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened, check_shape, check_total
from jtransfer.weights.formats.wrappers import unwrap_paths

_HEAD = 12 + (1 << 14)
_DESCR = re.compile(r"([<>|=])([biufc])(1|2|4|8|16)")


def is_npz(names: dict[str, zips.Member]) -> bool:
    """Returns whether the members of a zip archive are arrays of NumPy."""
    return any(name.endswith(".npy") for name in names)


def read(file: File, members: dict[str, zips.Member]) -> Opened:
    """Opens the arrays of an `.npz` by the names of its members, without the prefixes that big_vision writes.

    Raises:
      Malformed: the archive is damaged, or declares far more bytes than it has.
    """
    arrays = {name.removesuffix(".npy"): member for name, member in members.items() if name.endswith(".npy")}
    left_out = [name for name in members if not name.endswith(".npy")]
    arrays = {name: _array(file, name, member) for name, member in arrays.items()}
    left_out += [name for name, tensor in arrays.items() if tensor is None]
    tensors, unwrapped, beside = unwrap_paths({name: tensor for name, tensor in arrays.items() if tensor is not None})
    check_total(tensors, file.size)
    return Opened(tensors, "npz", unwrapped, (*left_out, *beside))


def _array(file: File, name: str, member: zips.Member) -> Lazy | None:
    """The array of one member; None where it holds strings or objects."""
    start, descr, fortran, shape = _header(name, zips.head(file, member, _HEAD))
    numbers = _dtype(descr)
    if numbers is None:
        return None
    dtype, swapped = numbers
    check_shape(shape, dtype.itemsize, name)
    length = math.prod(shape) * dtype.itemsize
    if start + length != member.size:
        raise Malformed(f"array {name!r} needs {length:,} bytes for its shape {shape}, it has {member.size - start:,}")

    def fetch() -> np.ndarray:
        if member.stored:
            raw = file.map(member.start + start, length)
        else:
            raw = np.frombuffer(zips.unpack(file, member, member.size), np.uint8, offset=start)
        return typed(raw, dtype, swapped).reshape(shape, order="F" if fortran else "C")

    return Lazy(shape, dtype, fetch)


def _header(name: str, head: bytes) -> tuple[int, object, bool, tuple[int, ...]]:
    """(where the numbers begin, descr, fortran_order, shape) of a `.npy` array, version 1 to 3."""
    wide = head[6:7] in (b"\x02", b"\x03")
    begin = 12 if wide else 10
    end = begin + int.from_bytes(head[8:begin], "little")
    if head[:6] != b"\x93NUMPY" or head[6:8] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00") or end > len(head):
        raise Malformed(f"array {name!r} has no .npy header")
    try:
        header = ast.literal_eval(head[begin:end].decode("latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise Malformed(f"array {name!r} has a damaged .npy header") from None
    match header:
        case {"descr": descr, "fortran_order": bool(fortran), "shape": tuple(shape)} if len(header) == 3:
            if all(type(n) is int for n in shape):
                return end, descr, fortran, shape
    raise Malformed(f"array {name!r} has a damaged .npy header")


def _dtype(descr: object) -> tuple[np.dtype, bool] | None:
    """(dtype, whether it is big endian), or None for what holds no numbers."""
    if isinstance(descr, str) and descr[1:] == "V2":
        return np.dtype(ml_dtypes.bfloat16), False
    matched = _DESCR.fullmatch(descr) if isinstance(descr, str) else None
    if descr == "|b1":
        return np.dtype(bool), False
    if matched is None or (matched[2], int(matched[3])) not in {(d.kind, d.itemsize) for d in _NUMBERS}:
        return None
    return np.dtype(matched[2] + matched[3]), matched[1] == ">"


_NUMBERS = [np.dtype(code) for code in ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"]]
