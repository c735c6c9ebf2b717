"""Writes Orbax checkpoints a few megabytes at a time: nothing is held in memory but the part that is being written.

The layout is Orbax's: `_METADATA` with the tree's paths, and an OCDBT database that has for each array zarr 2 metadata
(`.zarray`) and its chunks as raw numbers in C order. Orbax (both interfaces), TensorStore and `formats.open` read it.
"""

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.weights.formats.orbax import METADATA
from jtransfer.weights.streaming import ocdbt_writer
from jtransfer.weights.streaming.lazy_param import in_order

PART = 2 << 20  # bytes of the largest chunk
SPLIT = 1 << 20  # smaller arrays are one chunk
WAYS = 8  # a larger array is cut as sharding over so many devices would cut it, so that each reads its own chunks
_HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
_DICT_KEY = 2  # Orbax's number for a key of a dict


@contextmanager
def new(folder: str | os.PathLike) -> Iterator[Callable[[str, Any], None]]:
    """Makes a checkpoint of nested dicts in a folder, which is whole once the context is left.

    Args:
      folder: an empty folder.

    Yields:
      A function `place(path, param)` that writes one array. Several threads may call it.
    """
    paths: list[str] = []
    with ocdbt_writer.new(folder) as put:

        def place(path: str, param: Any) -> None:
            write_array(put, path, param)
            paths.append(path)

        yield place
    write_metadata(Path(folder), paths)


def write_array(put: Callable[[str, Any], None], path: str, param: Any) -> None:
    """Writes one array of a checkpoint.

    Args:
      put: a function that is called with each key of the checkpoint's database and its value.
      path: the array's full path, such as "params/stem/conv/kernel".
      param: an array, or a `LazyParam`, which is read part by part.
    """
    dtype, key = np.dtype(param.dtype), path.replace("/", ".")
    slowest = getattr(param, "slowest", tuple(range(len(param.shape))))
    chunk = chunk_shape(param.shape, dtype.itemsize, slowest, getattr(param, "step", 1))
    put(f"{key}/.zarray", json.dumps(_array_metadata(param.shape, chunk, dtype)).encode())
    read, release = getattr(param, "cut", param.__getitem__), getattr(param, "release", lambda: None)
    buffer = np.empty(chunk, dtype)
    for near in _parts(param.shape, chunk, slowest):
        for place, index in near:
            view = read(index)
            part = _padded(in_order(view, dtype, buffer if view.shape == chunk else None), chunk)
            put(f"{key}/{'.'.join(map(str, place or (0,)))}", part.reshape(-1).view(np.uint8))
        release()


def write_metadata(folder: Path, paths: Sequence[str]) -> None:
    """Writes the metadata that make a folder of arrays an Orbax checkpoint of nested dicts.

    Args:
      folder: of the arrays.
      paths: of all arrays.
    """
    tree = {str(tuple(path.split("/"))): _tree_metadata(path) for path in paths}
    content = {"tree_metadata": tree, "use_ocdbt": True, "use_zarr3": False, "custom_metadata": None}
    (folder / METADATA).write_text(json.dumps(content | {"store_array_data_equal_to_fill_value": True}))
    now = time.time_ns()
    content = {"item_handlers": _HANDLER, "init_timestamp_nsecs": now, "commit_timestamp_nsecs": now}
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(content | {"metrics": {}, "custom_metadata": {}}))


def chunk_shape(shape: Sequence[int], itemsize: int, slowest: Sequence[int], step: int = 1) -> tuple[int, ...]:
    """Returns the shape of the chunks into which an array is cut.

    Args:
      shape: of the array.
      itemsize: the bytes of one of its numbers.
      slowest, step: as for `LazyParam`.
    """
    chunk = [max(n, 1) for n in shape]
    if math.prod(chunk) * itemsize <= SPLIT:
        return tuple(chunk)
    even = [i for i, n in enumerate(chunk) if n % WAYS == 0]
    if even:
        chunk[max(even, key=lambda i: chunk[i])] //= WAYS
    if step > 1:
        chunk[slowest[0]] = min(chunk[slowest[0]], step)
    while math.prod(chunk) * itemsize > PART:
        axis = next(i for i in slowest if chunk[i] > 1)
        chunk[axis] = -(-chunk[axis] // 2)
    return tuple(chunk)


def _parts(
    shape: Sequence[int], chunk: Sequence[int], slowest: Sequence[int]
) -> Iterator[list[tuple[tuple[int, ...], tuple[slice, ...]]]]:
    """Each chunk's place in the grid and the index of what it holds, in the order of the source.

    Those that the source holds interleaved come together.
    """
    first, *others = (range(-(-shape[i] // chunk[i])) for i in slowest) if shape else (range(1),)
    for step in first:
        near = []
        for steps in itertools.product((step,), *others):
            place = tuple(steps[slowest.index(i)] for i in range(len(shape)))
            starts = (i * size for i, size in zip(place, chunk, strict=True))
            index = tuple(slice(a, min(a + size, n)) for a, size, n in zip(starts, chunk, shape, strict=True))
            near.append((place, index))
        yield near


def _padded(part: np.ndarray, chunk: tuple[int, ...]) -> np.ndarray:
    """A chunk at the array's edge is as large as all others."""
    return part if part.shape == chunk else np.pad(part, [(0, n - m) for n, m in zip(chunk, part.shape, strict=True)])


def _array_metadata(shape: Sequence[int], chunk: Sequence[int], dtype: np.dtype) -> dict[str, Any]:
    return {
        "chunks": list(chunk),
        "compressor": None,
        "dimension_separator": ".",
        "dtype": dtype.str if dtype.kind in "biufc" else dtype.name,
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": list(shape),
        "zarr_format": 2,
    }


def _tree_metadata(path: str) -> dict[str, Any]:
    return {
        "key_metadata": [{"key": key, "key_type": _DICT_KEY} for key in path.split("/")],
        "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
    }
