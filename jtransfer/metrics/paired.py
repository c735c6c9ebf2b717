"""Whether a difference between two models is more than chance, on the same examples, folds and seeds."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

_EQUAL = 1e-12  # of differences that the order of additions alone tells apart


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the p-value of McNemar's exact test, two-sided: of the examples that one of two models alone has right,
    does either have more than chance would give it?

    Args:
      first: bool [N], which examples one model has right.
      second: bool [N], the same of the other model.

    Returns:
      The p-value; 1.0 where each example is right, or wrong, for both.
    """
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def randomization(difference: Callable[[np.ndarray], float], n: int, draws: int = 2000, seed: int = 0) -> float:
    """Returns the p-value of the randomization test of paired results, two-sided (Noreen 1989).

    If the models did not differ, the two results for an example could be swapped. The p-value is the share of random
    swaps, the identity among them, with a difference at least as large as the one that is observed. Of what is right
    and wrong, with one result of each model, it is McNemar's exact test, up to the draws.

    Args:
      difference: takes bool [n], the examples whose results are swapped between the two models, and returns the
        difference of the metric between them.
      n: the number of examples, or of groups of examples that are swapped together.
      draws: how often examples are swapped; the p-value is at least 1 / (draws + 1).
      seed: of the draws.
    """
    observed, rng = abs(difference(np.zeros(n, bool))), np.random.default_rng(seed)
    extreme = sum(abs(difference(rng.random(n) < 0.5)) >= observed - _EQUAL for _ in range(draws))
    return (1 + extreme) / (1 + draws)


def corrected_t(differences: Sequence[float] | np.ndarray, test_share: float) -> float:
    """Returns the p-value of the corrected resampled t-test, two-sided (Nadeau & Bengio 2003).

    Models of several folds, or of repeated random splits, are trained on much the same examples. A usual t-test takes
    their results for independent and calls too much significant; this one adds `test_share` to the 1 / n of the
    variance of the mean. With `test_share=0` it is the usual paired t-test.

    Args:
      differences: of a metric between two models, [n], one for each split, at least 2.
      test_share: the number of examples measured on over the number trained on; of k folds 1 / (k - 1).

    Returns:
      The p-value; 1.0 where all differences are 0, and nan where all are the same otherwise: without a spread there is
        nothing to test them by.
    """
    values = np.asarray(differences, np.float64)
    mean, variance = values.mean(), values.var(ddof=1)
    if variance <= _EQUAL**2:
        return 1.0 if abs(mean) <= _EQUAL else math.nan
    t = mean / np.sqrt((1 / len(values) + test_share) * variance)
    return float(2 * stats.t.sf(abs(t), len(values) - 1))


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """Returns p-values corrected for their number (Holm 1979): with those below α called significant, the probability
    that any of them is a mistake is at most α.

    Args:
      p_values: in any order. A nan stands for a comparison that was not tested; it stays, and does not count.
    """
    values = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    scaled = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)) if len(order) else values[order]
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(scaled, 1.0)
    return corrected.tolist()
