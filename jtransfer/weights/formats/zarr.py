"""The metadata of zarr arrays, versions 2 and 3, as Orbax writes them; anything else is refused.

It is checked by hand, because TensorStore, which reads the arrays, allocates whatever chunks the metadata declare, and
has crashed on an unknown compressor. It is given only what passed here.
"""

import math
from typing import Any

import numpy as np

from jtransfer.weights.formats import json_header
from jtransfer.weights.formats.dtypes import BY_NAME
from jtransfer.weights.formats.lazy import Malformed, check_shape

FILES = {2: ".zarray", 3: "zarr.json"}
_COMPRESSORS = ("zstd", "gzip", "zlib")
_KEYS = {
    2: {
        *("chunks", "compressor", "dimension_separator", "dtype", "fill_value", "filters", "order", "shape"),
        "zarr_format",
    },
    3: {
        *("attributes", "chunk_grid", "chunk_key_encoding", "codecs", "data_type", "dimension_names", "fill_value"),
        *("node_type", "shape", "zarr_format"),
    },
}
_CODECS = {
    "bytes": {"endian"},
    "zstd": {"level", "checksum"},
    "gzip": {"level"},
    "crc32c": set(),
    "transpose": {"order"},
    "sharding_indexed": {"chunk_shape", "codecs", "index_codecs", "index_location"},
}


def describe(text: bytes, version: int, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Returns the shape and the dtype of an array.

    Args:
      text: the array's metadata, in JSON.
      version: of zarr, 2 or 3.
      name: of the array, for the error.

    Raises:
      Malformed: the metadata are damaged, or Orbax would not write them.
    """
    header = json_header.parse(text)
    if header.get("zarr_format") != version or set(header) - _KEYS[version]:
        raise Malformed(f"array {name!r} has metadata that is not of zarr {version}")
    dtype, chunks = (_version2 if version == 2 else _version3)(header, name)
    shape = _sizes(header.get("shape"), name, least=0)
    check_shape(shape, dtype.itemsize, name)
    if len(chunks) != len(shape):
        raise Malformed(f"array {name!r} has chunks of another rank than its shape")
    if math.prod(chunks) > 2 * math.prod(max(n, 1) for n in shape) + (1 << 20):
        raise Malformed(f"array {name!r} has chunks larger than itself")
    if isinstance(header.get("fill_value"), dict):
        raise Malformed(f"array {name!r} has a fill value that is not a number")
    return shape, dtype


def _version2(header: dict[str, Any], name: str) -> tuple[np.dtype, tuple[int, ...]]:
    match header.get("compressor"):
        case None:
            pass
        case {"id": str(kind), **options} if kind in _COMPRESSORS and all(type(v) is int for v in options.values()):
            pass
        case other:
            raise Malformed(
                f"array {name!r} has the compressor {str(other)[:60]!r}; {', '.join(_COMPRESSORS)} are read"
            )
    if header.get("filters") is not None or header.get("order") not in ("C", "F"):
        raise Malformed(f"array {name!r} has filters or an order that is not read")
    kind = header.get("dtype")
    if not isinstance(kind, str) or kind.lstrip("<>|") not in _DTYPES2:
        raise Malformed(f"array {name!r} has the dtype {str(kind)[:40]!r}, which is not read")
    return _DTYPES2[kind.lstrip("<>|")], _sizes(header.get("chunks"), name)


def _version3(header: dict[str, Any], name: str) -> tuple[np.dtype, tuple[int, ...]]:
    match header:
        case {
            "node_type": "array",
            "data_type": str(kind),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "codecs": list(codecs),
        } if kind in BY_NAME:
            _check_codecs(codecs, name, 0)
            return BY_NAME[kind], _sizes(chunks, name)
    raise Malformed(f"array {name!r} has a data type or chunks that are not read")


def _check_codecs(codecs: Any, name: str, depth: int) -> None:
    if not isinstance(codecs, list) or len(codecs) > 8 or depth > 2:
        raise Malformed(f"array {name!r} has codecs that are not read")
    for codec in codecs:
        match codec:
            case {"name": str(kind), **rest} if kind in _CODECS and set(rest) <= {"configuration"}:
                options = rest.get("configuration", {})
            case _:
                raise Malformed(f"array {name!r} has the codec {str(codec)[:60]!r}, which is not read")
        if not isinstance(options, dict) or set(options) - _CODECS[kind]:
            raise Malformed(f"array {name!r} has options of the codec {kind!r} that are not read")
        if kind == "sharding_indexed":
            _sizes(options.get("chunk_shape"), name)
            _check_codecs(options.get("codecs"), name, depth + 1)
            _check_codecs(options.get("index_codecs"), name, depth + 1)


def _sizes(value: Any, name: str, least: int = 1) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(n) is int and least <= n < 2**48 for n in value):
        raise Malformed(f"array {name!r} has a shape or chunks that are not natural numbers")
    return tuple(value)


_DTYPES2 = {dtype.str[1:] if dtype.kind in "biufc" else name: dtype for name, dtype in BY_NAME.items()}
