"""Intervals of what is measured on a sample of examples: Wilson's for shares, the bootstrap's for anything else."""

from collections.abc import Callable, Mapping
from statistics import NormalDist

import numpy as np


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of `n` independent examples, such as an accuracy (Wilson 1927).

    Args:
      successes: how many of the examples count, between 0 and `n`.
      n: the number of examples, at least 1.
      level: the confidence, such as 0.95.

    Returns:
      The lower and the upper bound, both in [0, 1].
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)


def bootstrap(
    statistic: Callable[[np.ndarray], float], n: int, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of a statistic over resampled examples (Efron 1979).

    Args:
      statistic: takes the numbers of `n` examples, int64 `[n]` in [0, n), drawn with replacement, and returns one
        number. A draw for which it is not finite, such as one that lacks a class, is left out.
      n: the number of examples, at least 1.
      draws: how often the examples are drawn. Paired comparisons take the same numbers for both sides within one
        statistic.
      level: the confidence, such as 0.95.
      seed: of the draws.

    Returns:
      The lower and the upper bound; nan where the statistic is finite for no draw.
    """
    return each(lambda rows: {"": statistic(rows)}, n, draws, level, seed)[""]


def each(
    statistics: Callable[[np.ndarray], Mapping[str, float]],
    n: int,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """The same for several statistics of the same draws, by name; see `bootstrap`.

    Args:
      statistics: takes the numbers of examples, and returns name → number.
      n, draws, level, seed: as for `bootstrap`.
    """
    rng, found = np.random.default_rng(seed), {}
    for _ in range(draws):
        for name, value in statistics(rng.integers(n, size=n)).items():
            found.setdefault(name, []).append(value)
    return {name: _percentiles(np.array(values, np.float64), level) for name, values in found.items()}


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
