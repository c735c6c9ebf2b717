"""Whether one model is better than another on the same examples: the interval of their difference."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jtransfer.metrics import intervals, sampled
from jtransfer.runs.verdicts import HELPED, HURT, NONE_SHOWN
from jtransfer.tasks import Task

LEAST = 20  # examples, of a metric that is no share of them
DISCORDANT = 6  # examples on which one of two is right alone: of fewer, a sign test can't tell them apart at 5 %
_DRAWS = 2000

Table = Mapping[str, np.ndarray]


class Difference(NamedTuple):
    """Two models on the same examples.

    Attributes:
      metric: what is compared.
      first, second: its values.
      low, high: the interval of `first - second`, 95 %, by the paired bootstrap over the examples.
      examples: how many there are.
      word: "helped" where the first is better, "hurt" where the second is, "no difference shown" where the interval has
        0 in it, or the examples are too few.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float
    examples: int
    word: str


def metric_of(task: Task, table: Table, class_names: Sequence[str]) -> str:
    """Returns the metric by which models for a task are compared: the first that a report shows, and of numbers the
    mean error, which a constant has, too; "" where it can't be computed of the examples that are drawn."""
    if "number" in task.label_kinds:
        return "mae"
    known = dict(task.score(_whole(table), class_names)) if "embeddings" not in table else {}
    return next((name for name in task.shown if name in known), "")


def compare(
    task: Task, metric: str, less: bool, first: Table, second: Table, class_names: Sequence[str]
) -> Difference | None:
    """Returns the difference of two models of which the predictions are kept; None where they share no example.

    Args:
      task: of both.
      metric: as of `metric_of`.
      less: whether less of it is better.
      first, second: what the task keeps of each example, with `index`.
      class_names: in order.
    """
    _, i, j = np.intersect1d(first["index"], second["index"], return_indices=True)
    if not len(i):
        return None
    one, other = (sampled.taken(_drawn(task, _whole(t)), rows) for t, rows in ((first, i), (second, j)))
    each = [_each(metric, table) for table in (one, other)]
    if each[0] is not None and each[1] is not None:
        gaps = each[0] - each[1]
        low, high = intervals.bootstrap(lambda rows: float(gaps[rows].mean()), len(i), _DRAWS)
        values = float(each[0].mean()), float(each[1].mean())
        few = int(np.count_nonzero(gaps)) < DISCORDANT if metric == "accuracy" else len(i) < LEAST
    else:

        def score(table: Table) -> float:
            return float(dict(task.score(dict(table), class_names))[metric])

        def gap(rows: np.ndarray) -> float:
            return score(sampled.taken(one, rows)) - score(sampled.taken(other, rows))

        low, high = intervals.bootstrap(gap, len(i), _few(one))
        values, few = (score(one), score(other)), len(i) < LEAST
    return Difference(metric, *values, low, high, len(i), _word(low, high, less, few))


def _word(low: float, high: float, less: bool, few: bool) -> str:
    if few or not (low > 0 or high < 0):
        return NONE_SHOWN
    return HELPED if (low > 0) != less else HURT


def _few(table: Table) -> int:
    """How often a table is drawn, so that a large one takes no longer than a small one."""
    return int(np.clip(2 * 10**6 // max(1, sum(array.size for array in table.values())), 100, 1000))


def _drawn(task: Task, table: Table) -> dict[str, np.ndarray]:
    """What is drawn of a table: all that its metrics need of each example."""
    rows = {name: array for name, array in table.items() if len(array) == len(table["index"])}
    return {"label": rows["label"], **task.by_row(rows)} if "label" in rows else rows


def _whole(table: Table) -> dict[str, np.ndarray]:
    """A table with logits, which a run of classes keeps as probabilities."""
    if "probs" not in table:
        return dict(table)
    return {**table, "logits": np.log(np.maximum(table["probs"], np.finfo(np.float32).tiny))}


def _each(metric: str, table: Table) -> np.ndarray | None:
    """The value of each example of a metric that is a mean over the examples; None of others."""
    if metric == "accuracy" and "rank" in table:
        return (table["rank"] == 0).astype(np.float64)
    if metric == "mae":
        return np.abs(table["logits"][:, 0].astype(np.float64) - table["label"])
    return None
