"""LogME: the evidence of a linear model with a Gaussian prior on features, at the prior that the labels choose."""

from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.selection.arrays import features_of, targets_of

_EPS = 1e-5  # added to the norms by which precisions are divided, as You et al. do
_CLOSE = 1e-3  # relative change of the ratio of the precisions at which they stay


def logme(features: Any, labels: Any, rounds: int = 11) -> float:
    """Returns the logarithm of the maximum evidence, by example and mean over the targets (You et al. 2021,
    arXiv:2102.11005).

    Each class is a target, 1 for its examples and 0 for others, or each column of numbers. The target is regressed on
    the features; the precisions of the weights and of the noise are moved to a fixed point of the evidence. It is the
    same for all rotations of the features.

    Where there are fewer examples than features it is the evidence that it is said to be. The authors' own code counts
    a determinant of D factors there that has N, so that its number is too high, and the more, the wider the features
    are. Elsewhere both are the same.

    Args:
      features: Of N examples, `[N, D]`.
      labels: Their classes, `[N]`, integers or texts; or numbers, float `[N]` or `[N, K]`.
      rounds: The most updates of the precisions. The usual number is that of the authors; the evidence then is that of
        precisions that may not have come to rest.

    Raises:
      InputError: The features are not finite or all zero, or the labels are neither classes nor numbers, or all the
        same.
    """
    found = features_of(features)
    targets = targets_of(labels, len(found))
    u, s, _ = np.linalg.svd(found, full_matrices=False)
    if not s[0]:
        raise InputError("all features are zero")
    return float(np.mean([_evidence(u, s, target, found.shape[1], rounds) for target in targets.T]))


def _evidence(u: np.ndarray, s: np.ndarray, y: np.ndarray, width: int, rounds: int) -> float:
    """The evidence of a target `[N]` by example, of features `u @ diag(s) @ v` of some width."""
    n, squared, along = len(y), s**2, (u.T @ y) ** 2
    beyond = max(float(y @ y - along.sum()), 0.0)  # the part of the target that no weights reach

    def norms(ratio: float) -> tuple[float, float]:
        """The squared norms of the mean weights and of the residual."""
        weights = float((squared * along / (ratio + squared) ** 2).sum())
        return weights, float((along / (1 + squared / ratio) ** 2).sum()) + beyond

    ratio, alpha, beta, found = 1.0, 1.0, 1.0, (0.0, 0.0)
    for _ in range(rounds):
        before, found = ratio, norms(ratio)
        effective = float((squared / (squared + ratio)).sum())
        alpha, beta = effective / (found[0] + _EPS), (n - effective) / (found[1] + _EPS)
        ratio = alpha / beta
        if abs(ratio - before) <= _CLOSE * before:
            break
    weights, residual = found if n >= width else norms(ratio)  # else the weights are far from those of a round before
    log_density = len(s) * np.log(alpha) + n * np.log(beta / (2 * np.pi)) - np.log(alpha + beta * squared).sum()
    return float(log_density - beta * residual - alpha * weights) / (2 * n)
