"""Parameters that are read when they are sliced: a conversion holds a few megabytes, a device reads its part alone."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jtransfer.weights.formats.lazy import read
from jtransfer.weights.mapping import Assignment, identity
from jtransfer.weights.streaming import mapped

STRIP = 16  # numbers of a row that are transposed at once: one line of the cache, from as many rows
ROWS = 16 << 20  # bytes of the rows that are transformed at once where the transform copies
Index = tuple[slice, ...]


@dataclass(frozen=True)
class LazyParam:
    """A parameter in the file of a checkpoint. `param[index]` reads a part of it, `np.asarray(param)` all of it.

    Attributes:
      shape: the parameter's shape.
      dtype: the parameter's dtype, to which parts are cast when they are read.
      slowest: its axes, from the one along which neighbours lie furthest apart in the file to the nearest.
      cut: a function from an index of slices to that part, in the dtype of the file.
      arrays: the tensors that it comes from, where they are in memory or mapped.
      step: where the slowest axis is best cut: at multiples of this number.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    slowest: tuple[int, ...]
    cut: Callable[[Any], np.ndarray]
    arrays: tuple[np.ndarray, ...] = ()
    step: int = 1

    def __getitem__(self, index: Any) -> np.ndarray:
        return in_order(self.cut(index), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[...], dtype, copy=copy)

    def release(self) -> None:
        """Gives back the pages of mapped files that were touched; they are read again when needed."""
        mapped.release(*self.arrays)


def lazy_params(assignment: Assignment, tensors: Mapping[str, Any], wanted: list[Any]) -> list[LazyParam]:
    """Returns the parameters that an assignment fills, one for each of its paths.

    Where a tensor has parts that can be read alone, and the transform only reorders axes, a part of the parameter is
    read as that part of the tensor. Tensors of mapped files are read page by page, as parts are asked for.

    Args:
      assignment: which tensors make up which parameters.
      tensors: lazy tensors or arrays by name.
      wanted: for each of the paths, something with the parameter's shape and dtype.
    """
    sources = [tensors[name] for name in assignment.source_names]
    axes = range(len(wanted[0].shape)) if assignment.transform is identity else assignment.transform.axes or ()
    if getattr(sources[0], "window", None) and len(axes) == len(wanted[0].shape):
        return [_by_window(assignment, sources[0], tuple(axes), wanted[0])]
    arrays = tuple(read(source) for source in sources)
    axis = assignment.transform.axis
    if axis is not None and arrays[0].nbytes > ROWS:
        return [_by_rows(assignment, arrays[0], range(len(wanted[0].shape))[axis], wanted[0])]
    return [
        LazyParam(like.shape, like.dtype, _by_stride(array), array.__getitem__, arrays)
        for array, like in zip(assignment.load(*arrays), wanted, strict=True)
    ]


def in_memory(array: np.ndarray) -> LazyParam:
    """Returns a parameter whose values are an array in memory."""
    return LazyParam(array.shape, array.dtype, tuple(range(array.ndim)), array.__getitem__)


def in_order(view: np.ndarray, dtype: np.dtype, out: np.ndarray | None = None) -> np.ndarray:
    """Returns a view as an array in C order, without a copy if it is one; a transposed view is copied in strips.

    Args:
      view: an array with any strides.
      dtype: of the result.
      out: a C-contiguous array of the view's shape and this dtype, into which is copied what has to be copied.
    """
    if view.ndim == 0 or (view.dtype == dtype and view.flags.c_contiguous):
        return np.asarray(view, dtype)
    out = np.empty(view.shape, dtype) if out is None else out
    fastest = min(range(view.ndim), key=lambda i: (view.shape[i] == 1, abs(view.strides[i])))
    step = view.shape[-1] if fastest == view.ndim - 1 else STRIP
    for i in range(0, view.shape[-1], max(step, 1)):
        out[..., i : i + step] = view[..., i : i + step]
    return out


def _by_window(assignment: Assignment, tensor: Any, axes: tuple[int, ...], like: Any) -> LazyParam:
    """A parameter whose parts are parts of a tensor; `axes` are those of the tensor, for each of the parameter's."""

    def cut(index: Any) -> np.ndarray:
        part = dict(zip(axes, _full(index, like.shape), strict=True))
        window = tuple(part.get(axis, slice(None)) for axis in range(len(tensor.shape)))
        return assignment.load(tensor.part(window))[0]

    slowest = sorted(range(len(axes)), key=lambda i: axes[i])
    return LazyParam(like.shape, like.dtype, tuple(slowest), cut)


def _by_rows(assignment: Assignment, array: np.ndarray, axis: int, like: Any) -> LazyParam:
    """A parameter whose transform copies: it is applied to a few rows at a time, the last of which are kept."""
    step = max(1, ROWS * len(array) // array.nbytes)

    @functools.lru_cache(1)
    def rows(first: int) -> np.ndarray:
        return assignment.load(array[first : first + step])[0]

    def cut(index: Any) -> np.ndarray:
        index = _full(index, like.shape)
        start, stop, _ = index[axis].indices(like.shape[axis])
        parts = []
        for first in range(start // step * step, stop, step):
            within = slice(max(start - first, 0), stop - first)
            parts.append(rows(first)[tuple(within if i == axis else part for i, part in enumerate(index))])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)

    others = (i for i in range(len(like.shape)) if i != axis)
    return LazyParam(like.shape, like.dtype, (axis, *others), cut, (array,), step)


def _full(index: Any, shape: tuple[int, ...]) -> Index:
    return (slice(None),) * len(shape) if index is Ellipsis else tuple(index)


def _by_stride(array: np.ndarray) -> tuple[int, ...]:
    return tuple(sorted(range(array.ndim), key=lambda i: -abs(array.strides[i])))
