"""Scores of how far apart the classes lie among the features: H-score, TransRate and GBC."""

import itertools
from typing import Any, Literal

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.selection.arrays import check_pairs, classes_of, features_of, means

_LEAST = 1e-12  # variance of a feature in a class, as a share of the mean variance within classes


def h_score(features: Any, labels: Any) -> float:
    """Returns the H-score (Bao et al. 2019), tr(cov(f)⁺ cov(E[f|y])).

    It is the same for all invertible affine maps of the features, and at most the lesser of D and C − 1, which it
    reaches whatever the features are where there are no more examples than features: then `regularized_h_score` tells
    more.

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`.

    Raises:
      InputError: The features are not finite, or the labels no classes, or of one class only.
    """
    _, _, between = _spectrum(features, labels)
    return float(between.sum())


def regularized_h_score(features: Any, labels: Any) -> float:
    """Returns the H-score with a covariance that is shrunk by Ledoit and Wolf's rule (Ibrahim et al. 2021,
    arXiv:2110.06893).

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`.

    Raises:
      InputError: As for `h_score`.
    """
    centred, s, between = _spectrum(features, labels)
    n, d = centred.shape
    variances = s**2 / n
    mean = variances.sum() / d
    squared = (variances**2).sum()
    spread = squared / d - mean**2
    noise = ((centred**2).sum(1) ** 2).sum() / n - squared
    shrinkage = min(noise / (d * n), spread) / spread if spread > 0 else 0.0
    shrunk = (1 - shrinkage) * variances + shrinkage * mean
    return float(((1 - shrinkage) * s**2 / (n - 1) / shrunk * between).sum())


def _spectrum(features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The centred features, their singular values, and for each the share of its left vector between classes."""
    found = features_of(features)
    classes, count = classes_of(labels, len(found))
    centred = found - found.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    there = s > s.max(initial=0) * max(found.shape) * np.finfo(np.float64).eps
    middle, sizes = means(u[:, there], classes, count)
    return centred, s[there], (sizes[:, None] * middle**2).sum(0)


def transrate(features: Any, labels: Any, eps: float = 1e-4) -> float:
    """Returns TransRate (Huang et al. 2022, arXiv:2106.09362): the coding rate of all features less the mean of those
    of each class.

    It is the same for all shifts and rotations of the features, but grows with their scale.

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`.
      eps: The distortion that is allowed.

    Raises:
      InputError: As for `h_score`.
    """
    found = features_of(features)
    classes, count = classes_of(labels, len(found))
    centred = found - found.mean(0)
    within = np.mean([_rate(centred[classes == c], eps) for c in range(count)])
    return float(_rate(centred, eps) - within)


def _rate(z: np.ndarray, eps: float) -> float:
    gram = z.T @ z if len(z) >= z.shape[1] else z @ z.T
    return 0.5 * np.linalg.slogdet(np.eye(len(gram)) + gram / (len(z) * eps))[1]


def gbc(features: Any, labels: Any, covariance: Literal["diagonal", "spherical"] = "diagonal") -> float:
    """Returns the Gaussian Bhattacharyya coefficient (Pándy et al. 2022, arXiv:2111.12780): minus the overlap of the
    classes, each a Gaussian, summed over all ordered pairs of them. At most 0.

    A feature that does not vary in a class is taken to vary by 1e-12 of the mean variance within classes.

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`.
      covariance: Of each class: "diagonal", a variance for each feature, or "spherical", one for all.

    Raises:
      InputError: As for `h_score`; or a class has one example alone.
    """
    if covariance not in ("diagonal", "spherical"):
        raise unknown("covariance", covariance, ("diagonal", "spherical"))
    found = features_of(features)
    classes, count = classes_of(labels, len(found))
    check_pairs(np.asarray(labels))
    middle, _ = means(found, classes, count)
    variances = np.stack([found[classes == c].var(0, ddof=1) for c in range(count)])
    if not variances.any():
        raise InputError("the features are the same for all examples of a class; there is no Gaussian of it")
    if covariance == "spherical":
        variances = np.broadcast_to(variances.mean(1, keepdims=True), variances.shape)
    variances = np.maximum(variances, _LEAST * variances.mean())
    pairs = itertools.combinations(range(count), 2)
    return -2 * float(sum(np.exp(-_distance(middle[[i, j]], variances[[i, j]])) for i, j in pairs))


def _distance(middle: np.ndarray, variances: np.ndarray) -> float:
    """Bhattacharyya's distance of two Gaussians: their means and variances, each `[2, D]`."""
    both = variances.mean(0)
    return float(((middle[0] - middle[1]) ** 2 / both).sum() / 8 + np.log(both).sum() / 2 - np.log(variances).sum() / 4)


def gbc_reduced(features: Any, labels: Any, components: int = 64) -> float:
    """Returns `gbc` with spherical covariances on the first principal components, as its authors take it.

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`.
      components: The number of components; all where there are fewer.

    Raises:
      InputError: As for `gbc`.
    """
    found = features_of(features)
    if found.shape[1] > components:
        u, s, _ = np.linalg.svd(found - found.mean(0), full_matrices=False)
        found = u[:, :components] * s[:components]
    return gbc(found, labels, "spherical")
