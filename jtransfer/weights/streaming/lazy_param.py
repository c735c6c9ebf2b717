"""Parameters that are read when they are sliced: a conversion holds a few megabytes, a device reads its part alone.

Pages of mapped files count as the process's memory once they are touched; `release` gives them back.
"""

import functools
import hashlib
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jtransfer.weights.mapping import Link, identity
from jtransfer.weights.source import read

BLOCK = 4 << 20  # bytes touched at once
STRIP = 16  # numbers of a row that are transposed at once: one line of the cache, from as many rows
ROWS = 4 * BLOCK  # bytes of the rows that are transformed at once where the transform copies
Index = tuple[slice, ...]


@dataclass(frozen=True)
class Leaf:
    """A parameter of ours in a file of theirs. `leaf[index]` reads a part, `np.asarray(leaf)` all of it.

    Attributes:
      shape, dtype: those of our parameter.
      slowest: its axes, from the one along which neighbours lie furthest apart in the file to the nearest.
      cut: index → the part, in the file's dtype.
      step: where the slowest axis is best cut: at multiples of this number.
      arrays: the tensors it comes from, where they are in memory or mapped.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    slowest: tuple[int, ...]
    cut: Callable[[Any], np.ndarray]
    arrays: tuple[np.ndarray, ...] = ()
    step: int = 1

    def __getitem__(self, index: Any) -> np.ndarray:
        return ordered(self.cut(index), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[...], dtype, copy=copy)

    def release(self) -> None:
        """Gives back the pages of mapped files that were touched; they are read again when needed."""
        release(*self.arrays)


def leaves(link: Link, tensors: Mapping[str, Any], wanted: list[Any]) -> list[Leaf]:
    """The parameters that a link fills.

    Args:
      link: a row of a map with its numbers filled in.
      tensors: name → lazy tensor or array.
      wanted: for each of the link's paths, something with the parameter's shape and dtype.
    """
    sources = [tensors[name] for name in link.foreign]
    if link.transform is identity and getattr(sources[0], "window", None):
        return [Leaf(wanted[0].shape, wanted[0].dtype, _c_order(wanted[0].shape), sources[0].part)]
    arrays = tuple(read(source) for source in sources)
    if link.transform.axis is not None and arrays[0].nbytes > ROWS:
        return [_by_rows(link, arrays[0], wanted[0])]
    filled = link.load(*arrays)
    return [
        Leaf(like.shape, like.dtype, _by_stride(array), array.__getitem__, arrays)
        for array, like in zip(filled, wanted, strict=True)
    ]


def whole(array: np.ndarray) -> Leaf:
    """An array in memory as a leaf."""
    return Leaf(array.shape, array.dtype, _c_order(array.shape), array.__getitem__)


def release(*arrays: np.ndarray) -> None:
    """Gives back the touched pages of arrays that are views of mapped files."""
    for array in arrays:
        base = array
        while isinstance(base, np.ndarray | memoryview):
            base = base.base if isinstance(base, np.ndarray) else base.obj
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and bytes, in hexadecimal."""
    found = hashlib.sha256(f"{array.dtype.name} {list(array.shape)}\n".encode())
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, flat.size, BLOCK):
        found.update(flat[start : start + BLOCK])
        if flat.size > BLOCK:
            release(array)
    return found.hexdigest()


def ordered(view: np.ndarray, dtype: np.dtype, out: np.ndarray | None = None) -> np.ndarray:
    """A view as an array in C order, without a copy where it is one; transposed ones are copied in strips.

    Args:
      view: of any strides.
      dtype: of the result.
      out: of the shape and dtype, C-contiguous; what has to be copied is put there.
    """
    if view.ndim == 0 or (view.dtype == dtype and view.flags.c_contiguous):
        return np.asarray(view, dtype)
    out = np.empty(view.shape, dtype) if out is None else out
    fastest = min(range(view.ndim), key=lambda i: (view.shape[i] == 1, abs(view.strides[i])))
    step = view.shape[-1] if fastest == view.ndim - 1 else STRIP
    for i in range(0, view.shape[-1], max(step, 1)):
        out[..., i : i + step] = view[..., i : i + step]
    return out


def _by_rows(link: Link, array: np.ndarray, like: Any) -> Leaf:
    """A leaf whose transform copies: it is applied to a few rows at a time, the last of which are kept."""
    axis = range(len(like.shape))[link.transform.axis]
    step = max(1, ROWS * len(array) // array.nbytes)

    @functools.lru_cache(1)
    def rows(first: int) -> np.ndarray:
        return link.load(array[first : first + step])[0]

    def cut(index: Any) -> np.ndarray:
        index = _full(index, like.shape)
        start, stop, _ = index[axis].indices(like.shape[axis])
        parts = []
        for first in range(start // step * step, stop, step):
            within = slice(max(start - first, 0), stop - first)
            parts.append(rows(first)[tuple(within if i == axis else part for i, part in enumerate(index))])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)

    others = (i for i in range(len(like.shape)) if i != axis)
    return Leaf(like.shape, like.dtype, (axis, *others), cut, (array,), step)


def _full(index: Any, shape: tuple[int, ...]) -> Index:
    return (slice(None),) * len(shape) if index is Ellipsis else tuple(index)


def _by_stride(array: np.ndarray) -> tuple[int, ...]:
    return tuple(sorted(range(array.ndim), key=lambda i: -abs(array.strides[i])))


def _c_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(len(shape)))
