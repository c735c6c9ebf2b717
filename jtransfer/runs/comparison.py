"""Which of several runs is the best by what chose their models, without a look at a test split."""

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run


class Compared(NamedTuple):
    """A run's place among others.

    Attributes:
      folder: the run's folder.
      protocol: what chose its model, as in `runs.protocol`.
      metric: the score that chose it, and will choose among the runs.
      value: of the score.
      step: of the model.
      test: name → value, the metrics of the model on the test split; they decide nothing.
    """

    folder: str
    protocol: str
    metric: str
    value: float
    step: int
    test: dict[str, float]


def compare(folders: Sequence[str | os.PathLike]) -> list[Compared]:
    """Returns runs from the best to the worst by the score that chose the model of each.

    Args:
      folders: of runs with the same score on the same data, such as runs that differ in an objective's weight.

    Raises:
      InputError: a folder is no run's, a run's model was chosen by no score, or runs can't be compared.
    """
    opened = [open_run(folder) for folder in folders]
    found = [_of(run) for run in opened]
    for what, values in (
        ("scores", [f"{one.metric} ({one.protocol})" for one in found]),
        ("data", [_data(run) for run in opened]),
    ):
        if len(set(values)) > 1:
            other = next(i for i, value in enumerate(values) if value != values[0])
            raise InputError(
                f"runs on different {what} can't be compared: {folders[0]} has {values[0]:.300}, and {folders[other]} "
                f"has {values[other]:.300}"
            )
    less = bool(found) and opened[0].metric(found[0].metric.rpartition("/")[2]).less_is_better
    return sorted(found, key=lambda one: one.value, reverse=not less)


def _of(run: StoredRun) -> Compared:
    lines = run.lines
    best = next((line for line in reversed(lines) if line.get("event") == "best"), None)
    if best is None or best.get("value") is None:
        raise InputError(f"{run.folder}: no score chose the run's model; name one in config.model_selection")
    tested = next((line for line in reversed(lines) if line.get("split") == "test"), {})
    words = ("step", "phase", "split", "protocol")
    test = {name: value for name, value in tested.items() if name not in words and value is not None}
    told = best.get("protocol", "validation")
    return Compared(str(run.folder), told, best["metric"], best["value"], best["best_step"], test)


def _data(run: StoredRun) -> str:
    """What scores are computed of: the name of each data set, and the split that is held out, or else trained on."""
    sections = {"target": run.config.data, **{name: one["data"] for name, one in run.config.streams.items()}}
    return json.dumps({name: f"{one['name']}, {one['validation'] or one['train']}" for name, one in sections.items()})
