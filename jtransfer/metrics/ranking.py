"""How well scores put positives before negatives: areas under curves, in which equal scores count as one."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

Area = Callable[[np.ndarray, np.ndarray], float]


def auroc(scores: Float[np.ndarray, " N"], positive: np.ndarray) -> float:
    """Returns the area under the ROC curve: how often a positive has a greater score than a negative.

    Equal scores count half.

    Args:
      scores: the greater, the surer.
      positive: bool [N].

    Returns:
      A number in [0, 1]; nan where all are positive or none is.
    """
    n, p = len(positive), int(positive.sum())
    if not 0 < p < n or not np.isfinite(scores).all():
        return float("nan")
    from scipy import stats

    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * (n - p)))


def auprc(scores: Float[np.ndarray, " N"], positive: np.ndarray) -> float:
    """Returns the average precision: the area under the steps of precision over recall.

    Args:
      scores: the greater, the surer.
      positive: bool [N].

    Returns:
      A number in [0, 1]; nan where none is positive.
    """
    if not positive.any() or not np.isfinite(scores).all():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each group of equal scores
    hits = np.cumsum(positive[order])[last]
    return float((np.diff(hits, prepend=0) * hits / (last + 1)).sum() / hits[-1])


def macro(area: Area, scores: Float[np.ndarray, "N C"], positive: np.ndarray) -> float:
    """Returns the mean of an area over the classes of which there are positives and negatives; nan if there is none.

    Args:
      area: `auroc` or `auprc`.
      scores: of each class.
      positive: bool [N, C].
    """
    return float(np.mean(found)) if (found := list(_each(area, scores, positive))) else float("nan")


def _each(area: Area, scores: np.ndarray, positive: np.ndarray) -> Iterator[float]:
    for one, true in zip(scores.T, positive.T, strict=True):
        if true.any() and not true.all():
            yield area(one, true)


def of_classes(area: Area, logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns an area of a classifier: of two classes that of the second, else the mean of one class against the rest.

    Args:
      area: `auroc` or `auprc`.
      logits: [N, C], or any scores that grow with a class's probability.
      labels: the class of each example, or [N, C], whether it has each class.
    """
    if labels.ndim == 2:
        return macro(area, logits, labels > 0.5)
    wide = logits.astype(np.float64)
    if wide.shape[1] == 2:
        return area(wide[:, 1] - wide[:, 0], labels == 1)
    wide = np.exp(wide - wide.max(1, keepdims=True))
    return macro(area, wide / wide.sum(1, keepdims=True), labels[:, None] == np.arange(wide.shape[1]))
