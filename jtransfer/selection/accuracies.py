"""Accuracies of simple classifiers of features, each example being classified by all others."""

from typing import Any

import numpy as np

from jtransfer.selection.arrays import classes_of, features_of, targets_of

_BLOCK = 1024  # examples whose neighbours are looked for at once
_DECADES = np.arange(-6, 4)  # of the l2, relative to the mean square of the singular values


def knn_accuracy(features: Any, labels: Any, k: int = 5, temperature: float = 0.07) -> float:
    """Returns the share of examples whose nearest neighbours among all others tell their class.

    Neighbours are nearest by cosine, and each votes with the weight exp(cosine / temperature).

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`.
      k: The number of neighbours; all others where there are fewer.
      temperature: Of the votes.

    Raises:
      InputError: The features are not finite, or the labels no classes, or of one class only.
    """
    return float(knn_hits(features, labels, k, temperature).mean())


def knn_hits(features: Any, labels: Any, k: int = 5, temperature: float = 0.07) -> np.ndarray:
    """Returns whether the neighbours of each example tell its class, float64 `[N]`; see `knn_accuracy`."""
    found = features_of(features)
    classes, count = classes_of(labels, len(found))
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    unit = found / np.where(norms > 0, norms, 1)
    k = min(k, len(unit) - 1)
    told = np.empty(len(unit), np.int64)
    for start in range(0, len(unit), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(unit)))
        near = unit[rows] @ unit.T
        near[np.arange(len(rows)), rows] = -np.inf
        neighbours = np.argpartition(-near, k - 1, axis=1)[:, :k]
        weights = np.exp((np.take_along_axis(near, neighbours, 1) - 1) / temperature)
        votes = np.zeros((len(rows), count))
        np.add.at(votes, (np.arange(len(rows))[:, None], classes[neighbours]), weights)
        told[rows] = votes.argmax(1)
    return (told == classes).astype(np.float64)


def linear_probe_accuracy(features: Any, labels: Any) -> float:
    """Returns the share of examples whose class a linear classifier tells that is fitted to all others.

    The classifier is ridge regression on one column for each class, in closed form, with the l2 of ten that has the
    least squared error on left-out examples. Of numbers, it is R², the share of the variance that is told.

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`; or numbers, float `[N]` or `[N, K]`.

    Raises:
      InputError: As for `knn_accuracy`.
    """
    return float(linear_probe_hits(features, labels).mean())


def linear_probe_hits(features: Any, labels: Any) -> np.ndarray:
    """Returns whether each example is told by the classifier of all others, float64 `[N]`; see
    `linear_probe_accuracy`. Of numbers, it is what each example adds to R² times N.
    """
    found = features_of(features)
    targets = targets_of(labels, len(found))
    left_out = _left_out(found - found.mean(0), targets)
    if np.asarray(labels).ndim == 1 and np.asarray(labels).dtype.kind != "f":
        classes, _ = classes_of(labels, len(found))
        return (left_out.argmax(1) == classes).astype(np.float64)
    errors, spread = (targets - left_out) ** 2, ((targets - targets.mean(0)) ** 2).mean(0)
    return 1 - (errors[:, spread > 0] / spread[spread > 0]).mean(1)


def _left_out(centred: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What ridge regression on all other examples predicts of each, `[N, K]`, at the best l2."""
    n = len(centred)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    along, middle = u.T @ (targets - targets.mean(0)), targets.mean(0)
    scale = float((s**2).mean()) or 1.0
    best, least = targets, np.inf
    for l2 in scale * 10.0**_DECADES:
        kept = s**2 / (s**2 + l2)
        fitted = middle + u @ (kept[:, None] * along)
        leverage = np.minimum(1 / n + (u**2) @ kept, 1 - 1e-9)
        errors = (targets - fitted) / (1 - leverage)[:, None]
        if (squared := float((errors**2).sum())) < least:
            best, least = targets - errors, squared
    return best
