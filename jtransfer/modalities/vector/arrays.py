"""Reads vectors from `.npz` files, such as features that another model extracted."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data import npz_files
from jtransfer.data.labels import asked
from jtransfer.data.source import Declined, Source

PAIRS = (("features", "labels"), ("x", "y"))


def npz_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of an `.npz` file of vectors.

    The file has `features` and `labels`, `x` and `y`, or arrays for each split, such as `x_train`, `y_train`, `x_test`
    and `y_test` (`npz_files.read`). The vectors are [N, d], of any type of number; examples hold them as float32.

    Args:
      location: The path of the file.
      spec: As for `data.open`.

    Raises:
      InputError: As for `npz_files.read` and `npz_files.encode`; a number is not finite; or the splits differ in d.
      Declined: The arrays are no vectors.
    """
    arrays = npz_files.read(location, PAIRS)
    if not arrays.inputs:
        raise Declined(
            f"{arrays.where}: needs the arrays features and labels, x and y, or x_train, y_train, x_test and y_test; "
            f"it has {', '.join(arrays.held) or 'none'}"
        )
    found = {split: _vectors(x, f"{arrays.where}, split {split}") for split, x in arrays.inputs.items()}
    if len({x.shape[1] for x in found.values()}) > 1:
        listed = ", ".join(f"{split} {x.shape[1]}" for split, x in found.items())
        raise InputError(f"{arrays.where}: the vectors of the splits differ in length: {listed}")
    labels = npz_files.encode(arrays, asked(spec))
    made = {
        split: npz_files.source(arrays, labels, split, lambda i, x=x: {"vector": x[i]}) for split, x in found.items()
    }
    files = (str(Path(location).expanduser()),)
    return {split: dataclasses.replace(source, files=files) for split, source in made.items()}


def _vectors(x: np.ndarray, where: str) -> np.ndarray:
    if x.ndim != 2 or x.dtype.kind not in "biuf" or not x.shape[1]:
        raise Declined(f"{where}: vectors must be numbers [N, d], not {x.dtype} {list(x.shape)}")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(x, np.float32)
    if (wrong := np.argwhere(~np.isfinite(vectors))).size:
        i, k = wrong[0]
        raise InputError(f"{where}: number {k} of vector {i} is {x[i, k]}; fill in what is missing, or leave it out")
    return vectors
