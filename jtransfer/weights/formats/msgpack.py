"""Flax's msgpack files: nested maps in which arrays are extension type 1.

They are read by hand, because a library unpacks the whole file into memory, arrays included. Here the file is walked
over once, within limits, and the bytes of arrays stay where they are until they are mapped.

An array is the extension's payload `(shape, dtype name, bytes)`; one above a gigabyte is a map of flat chunks.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jtransfer.weights.formats.dtypes import BY_NAME
from jtransfer.weights.formats.files import File, Window, typed
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened, check_shape, check_total
from jtransfer.weights.formats.wrappers import unwrap_paths

_MAX_VALUES = 500_000
_MAX_DEPTH = 64
_MAX_TEXT = 4096
_CHUNKED = "__msgpack_chunked_array__"
_OTHER = object()  # a value that is neither a map, an array nor an integer


@dataclass(frozen=True)
class _Array:
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def is_msgpack(head: bytes) -> bool:
    """Returns whether the first bytes of a file may be those of a map with text for keys."""
    at = 1 if head[0] & 0xF0 == 0x80 else {0xDE: 3, 0xDF: 5}.get(head[0])
    return at is not None and len(head) > at and (head[at] & 0xE0 == 0xA0 or head[at] in (0xD9, 0xDA))


def read(file: File) -> Opened:
    """Opens the arrays of a msgpack file by path, without `params/` if all paths begin with it.

    Raises:
      Malformed: the file is damaged, hostile, or does not hold a map of arrays.
    """
    walk = _Walk(file)
    tree = walk.value(0)
    if walk.window.position != file.size:
        raise Malformed("is not one msgpack value: it ends early, or bytes follow")
    if not isinstance(tree, dict):
        raise Malformed("does not hold a map of arrays")
    leaves: dict[str, Any] = {}
    _flatten(tree, "", leaves)
    arrays = {name: _lazy(file, name, leaf) for name, leaf in leaves.items() if isinstance(leaf, list)}
    left_out = [name for name in leaves if name not in arrays]
    tensors, unwrapped, beside = unwrap_paths(arrays)
    check_total(tensors, file.size)
    return Opened(tensors, "msgpack", unwrapped, (*left_out, *beside))


class _Walk:
    def __init__(self, file: File):
        self.window, self.left, self.size = Window(file, 0, chunk=1 << 12), _MAX_VALUES, file.size

    def value(self, depth: int) -> Any:
        """A dict (a list is one by index), an `_Array`, an int or `_OTHER`."""
        self.left -= 1
        if self.left < 0 or depth > _MAX_DEPTH:
            raise Malformed(f"msgpack has more than {_MAX_VALUES:,} values, or is nested over {_MAX_DEPTH} deep")
        code = self.window.integer(1)
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 256
        if code & 0xE0 == 0xA0:
            return self.skip(code & 0x1F)
        if code & 0xF0 == 0x80:
            return self.map(code & 0x0F, depth)
        if code & 0xF0 == 0x90:
            return self.list(code & 0x0F, depth)
        return self.long_form(code, depth)

    def long_form(self, code: int, depth: int) -> Any:
        if code in (0xC0, 0xC2, 0xC3):
            return _OTHER
        if code in _SIZED:  # binary and text
            return self.skip(self.number(_SIZED[code]))
        if code in _FLOATS:
            return self.skip(_FLOATS[code])
        if 0xCC <= code <= 0xD3:
            return self.number(1 << (code - 0xCC) % 4, signed=code >= 0xD0)
        if code in _EXTENSIONS:
            fixed, width = _EXTENSIONS[code]
            return self.extension(fixed or self.number(width))
        if code in (0xDC, 0xDD):
            return self.list(self.number(2 if code == 0xDC else 4), depth)
        if code in (0xDE, 0xDF):
            return self.map(self.number(2 if code == 0xDE else 4), depth)
        raise Malformed(f"msgpack has the unused code {code:#x}")

    def number(self, width: int, signed: bool = False) -> int:
        return self.window.integer(width, signed=signed, order="big")

    def skip(self, n: int) -> object:
        if self.window.position + n > self.size:
            raise Malformed(f"ends early: {n:,} bytes are missing at {self.window.position:,}")
        self.window.skip(n)
        return _OTHER

    def map(self, n: int, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for _ in range(n):
            key = self.key()
            if key in result:
                raise Malformed(f"msgpack map has the key {key!r} twice")
            result[key] = self.value(depth + 1)
        return result

    def list(self, n: int, depth: int) -> dict[str, Any]:
        return {str(i): self.value(depth + 1) for i in range(n)}

    def key(self) -> str:
        code = self.window.integer(1)
        if code < 0x80:
            return str(code)
        return self.text(code)

    def text(self, code: int) -> str:
        if code & 0xE0 != 0xA0 and code not in _SIZED:
            raise Malformed("msgpack map has a key that is not text")
        size = code & 0x1F if code & 0xE0 == 0xA0 else self.number(_SIZED[code])
        if size > _MAX_TEXT:
            raise Malformed(f"msgpack has a name of {size:,} bytes")
        try:
            return self.window.take(size).decode()
        except UnicodeDecodeError:
            raise Malformed("msgpack has a name that is not UTF-8") from None

    def extension(self, size: int) -> Any:
        kind = self.number(1)
        end = self.window.position + size
        if kind not in (1, 3):
            return self.skip(size)
        array = self.array()
        if self.window.position != end:
            raise Malformed("msgpack has an array that is longer or shorter than its extension")
        return array

    def array(self) -> _Array:
        if self.number(1) != 0x93:
            raise Malformed("msgpack has an array that is not shape, dtype and bytes")
        shape = self.value(_MAX_DEPTH - 1)
        dtype = self.text(self.number(1))
        code = self.number(1)
        if not isinstance(shape, dict) or not all(type(n) is int for n in shape.values()):
            raise Malformed("msgpack has an array whose shape is not a list of integers")
        if dtype not in BY_NAME:
            raise Malformed(f"msgpack has an array of the dtype {dtype[:40]!r}, which is not read")
        if code & 0xE0 != 0xA0 and code not in _SIZED:
            raise Malformed("msgpack has an array that is not shape, dtype and bytes")
        size = code & 0x1F if code & 0xE0 == 0xA0 else self.number(_SIZED[code])
        array = _Array(tuple(shape.values()), BY_NAME[dtype], self.window.position)
        check_shape(array.shape, array.dtype.itemsize, "of a msgpack")
        if array.nbytes != size:
            raise Malformed(f"msgpack has an array of {size:,} bytes for {dtype} {list(array.shape)}")
        self.skip(size)
        return array


_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_FLOATS = {0xCA: 4, 0xCB: 8}
_EXTENSIONS = {0xC7: (0, 1), 0xC8: (0, 2), 0xC9: (0, 4), **{0xD4 + i: (1 << i, 0) for i in range(5)}}


def _flatten(tree: dict[str, Any], prefix: str, leaves: dict[str, Any]) -> None:
    """Leaves by path: arrays as the list of their parts with the shape before it, everything else as it is."""
    for key, value in tree.items():
        path = prefix + key
        leaf = [value.shape, value] if isinstance(value, _Array) else value
        if isinstance(value, dict) and _CHUNKED in value:
            leaf = _chunks(value, path)
        elif isinstance(value, dict):
            _flatten(value, path + "/", leaves)
            continue
        if path in leaves:
            raise Malformed(f"two values have the path {path!r}")
        leaves[path] = leaf


def _chunks(value: dict[str, Any], path: str) -> list:
    match value:
        case {"shape": dict(shape), "chunks": dict(chunks)} if len(value) == 3 and chunks:
            parts, sizes = list(chunks.values()), tuple(shape.values())
            whole = all(isinstance(part, _Array) and len(part.shape) == 1 for part in parts)
            if whole and all(type(n) is int and n >= 0 for n in sizes) and len({part.dtype for part in parts}) == 1:
                check_shape(sizes, parts[0].dtype.itemsize, path)
                if math.prod(sizes) == sum(part.shape[0] for part in parts):
                    return [sizes, *parts]
    raise Malformed(f"the chunks of array {path!r} do not make up its shape")


def _lazy(file: File, name: str, leaf: list) -> Lazy:
    shape, *parts = leaf

    def fetch() -> np.ndarray:
        flat = [typed(file.map(part.start, part.nbytes), part.dtype) for part in parts]
        return (flat[0] if len(flat) == 1 else np.concatenate(flat)).reshape(shape)

    return Lazy(shape, parts[0].dtype, fetch)
