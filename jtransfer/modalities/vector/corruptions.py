"""Corruptions of vectors at five severities, relative to the mean and the standard deviation of each number."""

from collections.abc import Callable

import numpy as np

from jtransfer.modalities.vector.standardise import Statistics

_NOISE = (0.1, 0.2, 0.4, 0.8, 1.6)  # standard deviations
_MISSING = (0.05, 0.1, 0.2, 0.3, 0.5)  # shares

Corruption = Callable[[np.ndarray, Statistics, int, np.random.Generator], np.ndarray]


def noise(vector: np.ndarray, statistics: Statistics, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds Gaussian noise to each number."""
    drawn = rng.normal(size=vector.shape) * statistics.std
    return (vector + _NOISE[severity - 1] * drawn).astype(np.float32)


def missing(vector: np.ndarray, statistics: Statistics, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Puts the mean in place of some numbers."""
    gone = rng.random(vector.shape) < _MISSING[severity - 1]
    return np.where(gone, statistics.mean, vector).astype(np.float32)


CORRUPTIONS: dict[str, Corruption] = {"noise": noise, "missing": missing}
