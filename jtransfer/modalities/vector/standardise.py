"""Computes the mean and standard deviation of vectors, and reads those that a run keeps."""

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jtransfer import weights
from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.place import place_of
from jtransfer.data import Source

FILE = "vector.json"  # in a run's folder, or beside weights
_REMEDY = "; put a copy of it back"
_CHUNK = 4096  # vectors that are held at once, as float64
_CONSTANT = 1e-7  # a deviation below this share of the mean is float32's rounding


class Statistics(NamedTuple):
    """What vectors are standardised by.

    Attributes:
      mean: float32 [d].
      std: float32 [d], more than 0.
    """

    mean: np.ndarray
    std: np.ndarray


def compute(source: Source) -> Statistics:
    """Computes the mean and the standard deviation of the vectors of a source, in float64.

    The standard deviation is that of the population, as NumPy's. For a number that is the same in all vectors it is 1.

    Args:
      source: The examples.

    Raises:
      InputError: A vector has another length than the first, or a number that is not finite.
    """
    mean = np.sum([chunk.sum(0) for chunk in _chunks(source)], axis=0) / len(source)
    variance = np.sum([((chunk - mean) ** 2).sum(0) for chunk in _chunks(source)], axis=0) / len(source)
    std = np.sqrt(variance)
    moves = std > np.maximum(_CONSTANT * np.abs(mean), np.finfo(np.float32).tiny)
    return Statistics(mean.astype(np.float32), np.where(moves, std, 1.0).astype(np.float32))


def neutral(source: Source) -> Statistics:
    """Returns the statistics that leave the vectors of a source as they are: mean 0, standard deviation 1."""
    width = len(source[0]["vector"])
    return Statistics(np.zeros(width, np.float32), np.ones(width, np.float32))


def of_run(folder: str | os.PathLike) -> Statistics | None:
    """Returns the statistics in the folder of a run, on this machine or in a bucket; None where it has none."""
    place = place_of(folder)
    return None if place is None or whole_file.problem(place / FILE) == "is missing" else _parsed(place / FILE)


def of_weights(source: weights.Source) -> Statistics | None:
    """Returns the statistics in the folder of a run or an export, or beside weights; None where there are none."""
    if isinstance(source, str | os.PathLike) and (statistics := of_run(source)) is not None:
        return statistics
    try:
        path = weights.open(source).file(FILE)
    except InputError:  # such as "scratch"
        return None
    return None if path is None else _parsed(path)


def _parsed(path: Any) -> Statistics:
    try:
        content = json.loads(whole_file.read(path))
        mean, std = (np.array(content[name], np.float32) for name in Statistics._fields)
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error!r:.200}; it must hold mean and std{_REMEDY}") from None
    if mean.ndim != 1 or mean.shape != std.shape or not (np.isfinite(mean).all() and (std > 0).all()):
        raise InputError(f"{path} is damaged: mean and std must be as many numbers, and std more than 0{_REMEDY}")
    return Statistics(mean, std)


def _chunks(source: Source) -> Iterator[np.ndarray]:
    """The vectors of a source, in order, float64 [n, d]."""
    width = len(source[0]["vector"])
    for start in range(0, len(source), _CHUNK):
        rows = [np.asarray(source[i]["vector"], np.float64) for i in range(start, min(start + _CHUNK, len(source)))]
        for i, row in enumerate(rows, start):
            if row.shape != (width,) or not np.isfinite(row).all():
                raise InputError(
                    f"example {i} must be {width} finite numbers, like the first; its shape is "
                    f"{list(row.shape)}, its smallest number {row.min(initial=np.inf)}"
                )
        yield np.stack(rows)
