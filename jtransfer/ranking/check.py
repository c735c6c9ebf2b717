"""Whether scores tell which source is best: some are really fine-tuned, and the orders are compared."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer import metrics
from jtransfer.core.errors import InputError
from jtransfer.ranking.table import Table
from jtransfer.runs.build import Run

Train = Callable[[Any, Path], Mapping[str, float]]  # as `train.run`


class Checked(NamedTuple):
    """What fine-tuning gave.

    Attributes:
      metric: The name of the metric of the test split.
      results: Source → its value.
      taus: Score → Kendall's weighted τ between the score and the results; None where it tells nothing, as of fewer
        than two sources.
    """

    metric: str
    results: dict[str, float]
    taus: dict[str, float | None]


def folder_of(to: Path, source: str) -> Path:
    """Returns the folder of the run that begins with a source."""
    words = re.sub(r"[^\w.-]+", "_", source).strip("_.")[-40:]
    return to / "check" / f"{words}-{hashlib.blake2b(source.encode(), digest_size=4).hexdigest()}"


def metric_of(run: Run) -> str:
    """Returns the metric by which runs are compared: the one that the task shows first."""
    return run.target.task.shown[0]


def of(configs: Mapping[str, Any], metric: str, to: Path, table: Table, train: Train) -> Checked:
    """Fine-tunes each source in a folder of its own, or goes on where that was begun, and compares the orders.

    Args:
      configs: Source → its config.
      metric: The name of the metric.
      to: The folder of the ranking.
      table: The scores of all sources.
      train: A function of a config and a folder that trains, and returns metrics of the test split.

    Raises:
      InputError: A run can't be made.
    """
    results = {}
    for source, config in configs.items():
        try:
            found = train(config, folder_of(to, source))
        except InputError as error:
            raise InputError(f"source {source}: {error}") from None
        if metric not in found:
            raise InputError(f"source {source}: its run has no {metric!r} of the test split; evaluate it with 'split'")
        results[source] = float(found[metric])
    less = metrics.get(metric).less_is_better
    good = {source: -value if less else value for source, value in results.items()}
    return Checked(metric, results, {name: tau(table, good, name) for name in next(iter(table.values()))})


def tau(table: Table, good: Mapping[str, float], name: str) -> float | None:
    """Returns Kendall's weighted τ between a score of sources and how good they are.

    It is 1 where the orders are the same, -1 where one is the reverse of the other, and counts exchanges among the best
    most (Vigna 2015); sources without the score are left out.

    Args:
      table: The scores.
      good: Source → how good it is, the greater the better.
      name: Of the score.
    """
    from scipy import stats

    pairs = [(cell.value, value) for source, value in good.items() if (cell := table[source][name])]
    if len(pairs) < 2:
        return None
    found = float(stats.weightedtau(*np.array(pairs).T).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    return found if np.isfinite(found) else None
