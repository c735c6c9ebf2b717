"""Selective prediction: what a model errs in if it may leave out the examples that it is least sure of."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Curve(NamedTuple):
    """The share of wrong predictions among the surest examples.

    Attributes:
      coverage: float64 [N], the share of the examples that are predicted, 1/N, 2/N, …, 1.
      risk: float64 [N], the share of these that is wrong. Among equally sure examples it is the mean over their orders.
      threshold: float64 [N], the confidence of the last that is predicted.
    """

    coverage: Float[np.ndarray, " N"]
    risk: Float[np.ndarray, " N"]
    threshold: Float[np.ndarray, " N"]

    @property
    def aurc(self) -> float:
        """The area under the curve, the mean risk over all coverages (Geifman and El-Yaniv 2017, arXiv:1705.08500)."""
        return float(self.risk.mean())

    @property
    def excess(self) -> float:
        """The area above that of the best order, in which all wrong predictions come last (Geifman et al. 2019)."""
        n = len(self.risk)
        wrong = np.maximum(np.arange(1, n + 1) - (n - round(self.risk[-1] * n)), 0)
        return self.aurc - float((wrong / np.arange(1, n + 1)).mean())

    def at_risk(self, most: float) -> tuple[float, float]:
        """Returns the greatest coverage of which the risk is at most `most`, and the confidence to predict from.

        Equally sure examples are predicted together. Where no coverage has so little risk, it is 0, and no example is
        as sure as the confidence, which is infinite.
        """
        ends = np.append(self.threshold[1:] < self.threshold[:-1], True)
        good = np.flatnonzero(ends & (self.risk <= most + 1e-12))
        if not len(good):
            return 0.0, float("inf")
        return float(self.coverage[good[-1]]), float(self.threshold[good[-1]])


def curve(confidence: Float[np.ndarray, " N"], wrong: np.ndarray) -> Curve:
    """Returns the curve of risk over coverage.

    Args:
      confidence: of each prediction, such as the greatest probability.
      wrong: bool [N].
    """
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order].astype(np.float64)
    _, place, size = np.unique(-sure, return_inverse=True, return_counts=True)
    errors = (np.bincount(place, wrong[order]) / size)[place]
    number = np.arange(1, len(sure) + 1)
    return Curve(number / len(sure), np.cumsum(errors) / number, sure)
