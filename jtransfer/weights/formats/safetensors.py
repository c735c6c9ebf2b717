"""safetensors: a length, a JSON header, and the numbers back to back (little endian, C order)."""

import math
from typing import Any

import numpy as np

from jtransfer.core.errors import nearest
from jtransfer.weights.formats import json_header
from jtransfer.weights.formats.dtypes import BY_NAME
from jtransfer.weights.formats.files import File, typed
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened, check_shape

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def is_safetensors(head: bytes) -> bool:
    """Returns whether the first bytes of a file are a plausible length of a header and a brace."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= json_header.MAX_BYTES


def read(file: File) -> Opened:
    """Opens the tensors of a safetensors file. Raises `Malformed` if the file is damaged."""
    length = int.from_bytes(file.read(0, 8), "little")
    if length > json_header.MAX_BYTES or 8 + length > file.size:
        raise Malformed(f"the header declares {length:,} bytes; the file has {file.size:,}")
    text = file.read(8, length)
    if not text.startswith(b"{"):
        raise Malformed("the header does not begin with '{'")
    header = json_header.parse(text)
    metadata = _metadata(header.pop("__metadata__", {}))
    base = 8 + length
    spans = {name: _entry(name, entry) for name, entry in header.items()}
    _check_tiling(spans, file.size - base)
    tensors = {name: _lazy(file, base + begin, shape, dtype) for name, (shape, dtype, begin, _) in spans.items()}
    return Opened(tensors, "safetensors", metadata=metadata)


def _metadata(table: Any) -> dict[str, str]:
    """The table of strings; null is an empty one, as for the library that writes such files."""
    if table is None:
        return {}
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise Malformed("__metadata__ is not a table of strings")
    return table


def _entry(name: str, entry: Any) -> tuple[tuple[int, ...], np.dtype, int, int]:
    """(shape, dtype, begin, end) of one tensor, which agree with each other."""
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [begin, end]} if len(entry) == 3:
            pass
        case _:
            raise Malformed(f"tensor {name!r} is not described by dtype, shape and two data_offsets alone")
    if kind not in DTYPES:
        close = nearest(kind, DTYPES) or list(DTYPES)
        raise Malformed(f"tensor {name!r} has the dtype {kind[:40]!r}, which is not read; nearest: {', '.join(close)}")
    if not all(type(n) is int and 0 <= n < 2**62 for n in (*shape, begin, end)):
        raise Malformed(f"tensor {name!r} has a shape or an offset that is not a natural number")
    dtype = BY_NAME[DTYPES[kind]]
    check_shape(tuple(shape), dtype.itemsize, name)
    need = math.prod(shape) * dtype.itemsize
    if end - begin != need:
        raise Malformed(f"tensor {name!r} needs {need:,} bytes for {kind} {shape}, its offsets give {end - begin:,}")
    return tuple(shape), dtype, begin, end


def _check_tiling(spans: dict[str, tuple], size: int) -> None:
    """The tensors' bytes must fill the buffer once: no overlap, no hole, no rest."""
    at = 0
    for name, (_, _, begin, end) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if begin != at:
            place = "over other tensors" if begin < at else f"after a gap of {begin - at:,}"
            raise Malformed(f"tensor {name!r} begins at byte {begin:,}, {place}")
        at = end
    if at != size:
        raise Malformed(f"the tensors have {at:,} bytes, the file holds {size:,}")


def _lazy(file: File, start: int, shape: tuple[int, ...], dtype: np.dtype) -> Lazy:
    length = math.prod(shape) * dtype.itemsize
    return Lazy(shape, dtype, lambda: typed(file.map(start, length), dtype).reshape(shape))
