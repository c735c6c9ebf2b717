"""Reads a vector as it is given to `predict`."""

import os
import pickle

import numpy as np

from jtransfer.core.errors import InputError


def vector_of(given: str, size: int) -> np.ndarray:
    """Returns the vector of a `.npy` file, or of numbers separated by commas.

    Args:
      given: The path of the file, or the numbers.
      size: The length that the vector must have.

    Returns:
      float32 [size].

    Raises:
      InputError: It is neither, or not `size` finite numbers.
    """
    values = _loaded(given) if os.path.isfile(given) else _parsed(given)
    if values.shape != (size,):
        raise InputError(f"{given!r:.80} has the shape {list(values.shape)}; the run takes {size} numbers")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise InputError(f"{given!r:.80} must be finite numbers; they are {values.dtype}")
    return values.astype(np.float32)


def _loaded(path: str) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: cannot be read as a .npy file: {error}") from None
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path}: holds several arrays; give a .npy file with one vector")
    return values


def _parsed(text: str) -> np.ndarray:
    try:
        return np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise InputError(f"{text!r:.80} is neither a .npy file that is there nor numbers separated by commas") from None
