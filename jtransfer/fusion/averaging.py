"""Averages of models: soups (Wortsman et al. 2022, arXiv:2203.05482) and those of one run's checkpoints (SWA, EMA)."""

from collections.abc import Sequence

from jtransfer.core.errors import InputError
from jtransfer.fusion.method import Array, Method, Weights, weighted_sum


def average(arrays: Array, weights: Weights) -> Array:
    """Returns the mean of arrays [n, …] by their weights.

    Args:
      arrays: [n, …].
      weights: n numbers, which are divided by their sum.

    Raises:
      InputError: the weights add up to zero.
    """
    total = float(sum(weights))
    if not total:
        raise InputError(f"weights={tuple(weights)} of an average add up to 0; give others")
    return weighted_sum(arrays, [weight / total for weight in weights])


def decaying(count: int, decay: float) -> Sequence[float]:
    """Returns the weights of an exponential moving average over checkpoints, the last of which weighs most.

    Args:
      count: The number of checkpoints, in the order of their steps.
      decay: The share of the average that each further checkpoint leaves. The average begins with the first one.
    """
    if not 0 <= decay < 1:
        raise InputError(f"decay={decay} of an average of checkpoints must be at least 0 and below 1")
    later = [(1 - decay) * decay ** (count - 1 - i) for i in range(1, count)]
    return [decay ** (count - 1), *later]


METHOD = Method(average)
