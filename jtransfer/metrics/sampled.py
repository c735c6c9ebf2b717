"""The intervals of the metrics of one table: Wilson's of shares of examples, the bootstrap's of all others."""

from collections.abc import Callable, Mapping

import numpy as np

from jtransfer.metrics import intervals

Table = Mapping[str, np.ndarray]
Score = Callable[[Table], Mapping[str, float]]

SHARES = ("accuracy", "top5", "retrieval")
"""Metrics that are shares of examples, where these are not of tokens."""

_FEW, _MANY, _WORK = 100, 1000, 5 * 10**6  # draws, and numbers of a table times its draws
_LARGEST = 10**6  # numbers of a table that is drawn from
_LEAST = 2  # examples


Interval = tuple[float, float]


def of_scores(score: Score, table: Table, shares: bool, level: float = 0.95, draws: int = 0) -> dict[str, Interval]:
    """Returns the interval of each metric of a table, by name.

    The examples are what is drawn anew, so that the intervals say how much other examples would change the metrics, and
    nothing of other seeds of training.

    Args:
      score: takes a table, and returns name → value.
      table: arrays [N, …].
      shares: whether accuracies are shares of the examples, and not of their tokens.
      level: the confidence.
      draws: how often the examples are drawn; 0 is 1,000 times, of large tables less often, but at least 100 times, and
        of tables of more than a million numbers never, so that only shares have an interval.

    Returns:
      Name → (lower, upper); nothing of fewer than two examples, or where the texts of a table can't be drawn.
    """
    n = len(table["label"]) if "label" in table else len(next(iter(table.values())))
    if n < _LEAST or any(len(array) != n for array in table.values()):
        return {}
    size = sum(array.size for array in table.values())
    found = {}
    draws = draws or (_draws(size) if size <= _LARGEST else 0)
    if draws:
        found = intervals.each(lambda rows: score(taken(table, rows)), n, draws, level)
    exact = score(table)
    for name in SHARES if shares else ():
        if name in exact:
            found[name] = intervals.wilson(exact[name] * n, n, level)
    return found


def _draws(numbers: int) -> int:
    return max(_FEW, min(_MANY, _WORK // max(1, numbers)))


def taken(table: Table, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns some rows of a table."""
    return {name: array[rows] for name, array in table.items()}
