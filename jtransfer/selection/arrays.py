"""What scores are given, checked: features, classes and probabilities, as float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError


def features_of(features: Any) -> np.ndarray:
    """Returns features as float64 `[N, D]`.

    Raises:
      InputError: They are no matrix of finite numbers, or there are fewer than two examples.
    """
    found = np.asarray(features)
    if found.ndim != 2 or found.dtype.kind not in "fiub" or found.shape[1] == 0:
        raise InputError(f"features must be numbers [examples, features], not {found.dtype}{list(found.shape)}")
    found = found.astype(np.float64)
    if len(found) < 2:
        raise InputError(f"there are features of {len(found)} example; give at least two")
    if wrong := np.flatnonzero(~np.isfinite(found).all(1)).tolist():
        raise InputError(f"the features of example {wrong[0]} and {len(wrong) - 1} others are not finite numbers")
    return found


def classes_of(labels: Any, size: int) -> tuple[np.ndarray, int]:
    """Returns the class of each of `size` examples as a number, int64 `[N]`, and the number of classes that there are.

    Classes without any example do not count: labels 0, 2, 5 are three classes.

    Raises:
      InputError: The labels are not one class for each example, or are all the same.
    """
    found = np.asarray(labels)
    whole = found.dtype.kind in "iubUS" or (found.dtype.kind == "f" and bool(np.all(found == np.round(found))))
    if found.ndim != 1 or not whole:
        raise InputError(f"labels must be one class for each example, not {found.dtype}{list(found.shape)}")
    if len(found) != size:
        raise InputError(f"there are {len(found)} labels of {size} examples")
    names, numbers = np.unique(found, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"all {size} examples are of one class, {names.tolist()}; a score needs two")
    return numbers.reshape(-1), len(names)


def targets_of(labels: Any, size: int) -> np.ndarray:
    """Returns the columns that are regressed on, float64 `[N, K]`: of classes, one for each that there is; of numbers,
    `[N]` or `[N, K]`, these.

    Raises:
      InputError: The labels are neither, or all the same.
    """
    found = np.asarray(labels)
    if found.ndim == 1 and found.dtype.kind != "f":
        numbers, count = classes_of(labels, size)
        return np.eye(count)[numbers]
    if found.ndim not in (1, 2) or found.dtype.kind not in "fiub" or not found.size:
        raise InputError(f"labels must be numbers or classes, not {found.dtype}{list(found.shape)}")
    found = found.astype(np.float64).reshape(len(found), -1)
    if len(found) != size:
        raise InputError(f"there are {len(found)} labels of {size} examples")
    if not np.isfinite(found).all():
        raise InputError("a label is not a finite number")
    if (found == found[0]).all():
        raise InputError(f"all {size} examples have the same label; a score needs two")
    return found


def probabilities_of(probabilities: Any) -> np.ndarray:
    """Returns probabilities as float64 `[N, Z]`.

    Raises:
      InputError: They are no matrix of finite numbers from 0 to 1 whose rows sum to 1, to 1e-3.
    """
    found = features_of(probabilities)
    sums = found.sum(1)
    if found.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise InputError(
            f"probabilities must be from 0 to 1 and sum to 1 for each example; they are from {found.min():.3g}, and "
            f"sum to {sums.min():.3g} to {sums.max():.3g}"
        )
    return found


def means(values: np.ndarray, classes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of each class, `[C, D]`, and how many examples it has, `[C]`."""
    sizes = np.bincount(classes, minlength=count)
    return (np.eye(count)[classes].T @ values) / sizes[:, None], sizes


def check_pairs(labels: np.ndarray, names: Sequence[str] = ()) -> None:
    """Checks that each class that there is has two examples or more.

    Args:
      labels: The class of each example, `[N]`.
      names: The names of the classes, by their numbers, for the error.

    Raises:
      InputError: One has a single example.
    """
    found, sizes = np.unique(labels, return_counts=True)
    if few := found[sizes < 2].tolist():
        shown = names[few[0]] if names else few[0]
        raise InputError(f"the class {shown!r} has one example alone, and a score needs two of each class")
