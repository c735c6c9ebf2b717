"""The best setting, by what all are compared on; and what its runs say of the test split, which nothing else reads."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jtransfer.comparing import plan as plans
from jtransfer.comparing import work
from jtransfer.comparing.outcomes import Outcome
from jtransfer.comparing.plan import Plan
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.metrics import Metric, intervals
from jtransfer.runs import json_file, measure
from jtransfer.runs import open as open_run

FILE = "test.json"


class Tested(NamedTuple):
    """What the winner's runs say of the test split.

    Attributes:
      winner: The name of the setting.
      labels: With how many labels its runs were trained, or 0 for all.
      split: The expression of the test split.
      examples: How many there are.
      values: The metric of each run.
      mean, spread: Of the runs; the spread is nan of one run.
      low, high: Wilson's interval of an accuracy of `mean`; nan of other metrics.
      looks: How often the test split was read by a comparison in this folder, this time included.
    """

    winner: str
    labels: int
    split: str
    examples: int
    values: tuple[float, ...]
    mean: float
    spread: float
    low: float
    high: float
    looks: int


def best(outcomes: Sequence[Outcome], metric: Metric) -> Outcome:
    """Returns the best setting with the most labels; of equals the first.

    Raises:
      InputError: Every setting has a run whose numbers were not finite.
    """
    most = max(one.labels for one in outcomes)
    found = [one for one in outcomes if one.labels == most and not np.isnan(one.mean)]
    if not found:
        raise InputError("every setting has a run whose numbers were not finite; lower optim.lr")
    return min(found, key=lambda one: one.mean if metric.less_is_better else -one.mean)


def tested(plan: Plan, winner: Outcome, metric: Metric) -> Tested:
    """Returns what the winner's runs say of the test split: read now, or before, if the same runs had won.

    Args:
      plan: The comparison.
      winner: The best setting.
      metric: By which settings are compared.

    Raises:
      InputError: The test split can't be read.
    """
    names = [one.name for one in plan.variations]
    cells = [
        cell
        for cell in plans.cells(plan)
        if cell.variation == names.index(winner.name) and cell.labels == winner.labels
    ]
    path = epath.Path(plan.folder) / FILE
    looks: list[dict[str, Any]] = json_file.read(path)["looks"] if path.exists() else []
    asked = {"winner": winner.name, "labels": winner.labels, "runs": len(cells), "split": plan.config["data"]["test"]}
    known = next((look for look in looks if asked.items() <= look.items()), None)
    if known is None:
        if looks:
            say(f"the test split is read once more: before, the winner was {looks[-1]['winner']!r} of other runs")
        name = plans.base_of(plan, cells[0].variation)["data"]["name"]
        read = [measure.measure(open_run(plans.place(plan, cell)), data=name, split=asked["split"]) for cell in cells]
        known = {**asked, "examples": read[0].examples, "metrics": [work.finite(found.metrics) for found in read]}
        looks.append(known)
        json_file.write(path, {"looks": looks})
    told = [found.get(metric.name) for found in known["metrics"]]
    values = np.array([math.nan if value is None else value for value in told], np.float64)
    mean, spread = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan
    counted = metric.name == "accuracy" and 0 <= mean <= 1
    low, high = intervals.wilson(mean * known["examples"], known["examples"]) if counted else (math.nan, math.nan)
    return Tested(
        winner.name,
        winner.labels,
        asked["split"],
        known["examples"],
        tuple(values.tolist()),
        mean,
        spread,
        low,
        high,
        len(looks),
    )
