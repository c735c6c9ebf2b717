"""Arrays of a checkpoint as they are read: several at a time, on the host or straight into their shardings."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jtransfer.training import digest as digests
from jtransfer.weights import formats

_THREADS = 8


def on_host(tensors: Mapping[str, formats.Lazy]) -> dict[str, np.ndarray]:
    """Returns the tensors as NumPy arrays by their paths."""
    return _each(lambda path: tensors[path].read(), tensors)


def placed(tensors: Mapping[str, formats.Lazy], like: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Returns the tensors as arrays by their paths; each process reads what its devices hold.

    Args:
      tensors: path → lazy tensor.
      like: path → an array, or its shape and dtype, with a sharding.

    Raises:
      ValueError: they have other paths, shapes or dtypes.
    """
    if odd := sorted(tensors.keys() ^ like.keys()):
        raise ValueError(f"{odd[0]} is {'not in it' if odd[0] in like else 'unknown to the model'}")
    for path, want in like.items():
        got = tensors[path]
        if got.shape != want.shape or got.dtype != want.dtype:
            raise ValueError(f"{path} is {got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}")

    def place(path: str) -> jax.Array:
        return jax.make_array_from_callback(like[path].shape, like[path].sharding, tensors[path].part)

    return _each(place, like)


def check(flat: Mapping[str, Any], stated: Mapping[str, str] | None) -> None:
    """Raises `ValueError` if arrays do not have the checksums that a checkpoint states, by their paths, if it does."""
    if stated is None:
        return
    found = digests.digests(flat)
    if wrong := [path for path in flat if found[path] != stated.get(path)]:
        raise ValueError(
            f"{wrong[0]} is not what was saved" + (f", nor are {len(wrong) - 1} more" if wrong[1:] else "")
        )


def _each(read: Callable[[str], Any], paths: Mapping[str, Any]) -> dict[str, Any]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(read, paths), strict=True))
