"""Above which probability an example counts as positive."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from jtransfer.core.errors import unknown

USUAL = 0.5
Counts = np.ndarray


def _f1(tp: Counts, fp: Counts, fn: Counts, tn: Counts, costs: Sequence[float]) -> Counts:
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def _youden(tp: Counts, fp: Counts, fn: Counts, tn: Counts, costs: Sequence[float]) -> Counts:
    return tp / np.maximum(tp + fn, 1) - fp / np.maximum(fp + tn, 1)


def _cost(tp: Counts, fp: Counts, fn: Counts, tn: Counts, costs: Sequence[float]) -> Counts:
    return -(costs[0] * fp + costs[1] * fn)


CRITERIA: dict[str, Callable[..., Counts]] = {"f1": _f1, "youden": _youden, "cost": _cost}
"""F1; Youden's J, sensitivity + specificity − 1; and minus what wrong positives and wrong negatives cost."""


def choose(
    probs: Float[np.ndarray, " N"], positive: np.ndarray, by: str, costs: Sequence[float] = (1.0, 1.0)
) -> float | None:
    """Returns the threshold above which examples are to count as positive.

    Looked at are 0, 1, and the middles between neighbouring probabilities; among equally good ones the one next to 1/2
    is taken.

    Args:
      probs: the probability that each example is positive.
      positive: bool [N], whether it is.
      by: one of `CRITERIA`.
      costs: of a wrong positive and of a wrong negative, for "cost".

    Returns:
      The threshold; None where all are positive or none is, which tell nothing of it.

    Raises:
      InputError: there is no such criterion.
    """
    if by not in CRITERIA:
        raise unknown("criterion of a threshold", by, CRITERIA)
    if not positive.any() or positive.all() or not np.isfinite(probs).all():
        return None
    probs = probs.astype(np.float64)
    levels = np.unique(probs)
    at = np.unique(np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]]))
    yes, no = np.sort(probs[positive]), np.sort(probs[~positive])
    fn, tn = np.searchsorted(yes, at, side="right"), np.searchsorted(no, at, side="right")
    value = CRITERIA[by](len(yes) - fn, len(no) - tn, fn, tn, costs)
    best = at[value >= value.max() - 1e-12]
    return float(best[np.abs(best - USUAL).argmin()])
