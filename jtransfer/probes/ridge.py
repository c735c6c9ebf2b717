"""Ridge regression in closed form, for many strengths of the penalty from one eigendecomposition."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jax.typing import ArrayLike

from jtransfer.core.errors import InputError
from jtransfer.probes import checks

BIAS = 100.0  # the feature that stands for the bias, so great that the penalty hardly matters to it
LEAST = 1e-5  # added to the standard deviation of a feature


class Ridge(NamedTuple):
    """Linear predictors, for L strengths.

    Attributes:
      kernel: float64 [L, D, C].
      bias: float64 [L, C].
    """

    kernel: np.ndarray
    bias: np.ndarray


def ridge(
    features: ArrayLike, targets: ArrayLike, l2: Sequence[float] | ArrayLike, *, num_classes: int | None = None
) -> Ridge:
    """Fits ridge regressions of classes or of numbers, as big_vision's few-shot evaluation does.

    The features are standardised, and a constant feature of 100 stands for the bias. Classes are targets of 1 for the
    class and -1 for the others. It minimises the sum over the examples of the squared errors plus `l2` times the
    squared norm of the weights of the standardised features. What is returned takes the features as they were given.

    The eigendecomposition is of the smaller one of [D, D] and [N, N], in float64.

    Args:
      features: float [N, D].
      targets: The classes, int [N], or numbers, float [N] or [N, C].
      l2: The strengths of the penalty, positive.
      num_classes: The number of classes; None is the greatest label and one.

    Returns:
      The predictors, in the order of `l2`.

    Raises:
      InputError: The features or the targets are not finite or don't fit, there is one class only, or an argument is
        out of its range.
    """
    x, y = _given(features, targets, num_classes)
    strengths = np.atleast_1d(np.asarray(l2, np.float64))
    if strengths.ndim != 1 or not len(strengths) or not (np.isfinite(strengths) & (strengths > 0)).all():
        raise InputError(f"l2={l2}: give positive numbers")
    mean, std = x.mean(0), x.std(0) + LEAST
    z = (x - mean) / std
    small = z.shape[1] <= len(z)
    values, vectors = scipy.linalg.eigh(z.T @ z if small else z @ z.T)
    left, right = (vectors, vectors.T @ (z.T @ y)) if small else (z.T @ vectors, vectors.T @ y)
    shrunk = 1 / (np.maximum(values, 0) + strengths[:, None])  # [L, k]
    kernel = np.einsum("dk,lk,kc->ldc", left, shrunk, right, optimize=True) / std[:, None]
    own = len(z) * BIAS**2  # the constant feature is orthogonal to the others
    return Ridge(kernel, (own / (own + strengths))[:, None] * y.mean(0) - mean @ kernel)


def _given(features: ArrayLike, targets: ArrayLike, num_classes: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Features float64 [N, D], and targets float64 [N, C]."""
    if np.asarray(targets).dtype.kind in "iub":
        x, labels, count = checks.labelled(features, targets, num_classes)
        return x.astype(np.float64), 2.0 * np.eye(count)[labels] - 1.0
    x, y = checks.finite(features), np.asarray(targets, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != len(x):
        raise InputError(f"targets are {list(y.shape)} for {len(x)} examples; give one row for each")
    if not np.isfinite(y).all():
        raise InputError("the targets are not all finite numbers")
    return x.astype(np.float64), y
