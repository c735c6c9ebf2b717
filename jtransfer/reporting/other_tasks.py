"""Of a report, the tasks beside the target: the source's before and after, and each stream's against it alone."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.metrics import Metric
from jtransfer.runs import alone
from jtransfer.runs.open import StoredRun


class Row(NamedTuple):
    """A metric of a task on its test split.

    Attributes:
      task: "source", "target" or a stream's name.
      metric: the metric.
      compared: what it is compared with.
      before: the value of that; None where there is none.
      now: the run's.
    """

    task: str
    metric: Metric
    compared: str
    before: float | None
    now: float | None


def rows(run: StoredRun) -> Iterator[Row]:
    """Returns the rows of the table of other tasks; of a run on one task that is gone there is none."""
    lines = run.lines
    begun = next((line for line in lines if line.get("event") == "source"), {})
    for name, value in begun.items():
        metric = name.removeprefix("source/")
        if metric != name and metric in run.task.shown and (now := alone.last(lines, name)) is not None:
            yield Row("source", run.metric(metric), "before the run", value, now)
    with contextlib.suppress(InputError):
        for gain in alone.gains(run):
            yield Row(gain.task, run.metric(gain.metric), "trained alone", gain.alone, gain.together)
