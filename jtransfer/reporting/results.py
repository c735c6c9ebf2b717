"""What a report says of a run's results: what its model is chosen by, each data set's metrics, each term's curve."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from jtransfer.core.errors import InputError
from jtransfer.metrics import Metric
from jtransfer.objectives import terms
from jtransfer.reporting import figures
from jtransfer.runs import protocol
from jtransfer.runs.open import StoredRun

_STEPS = 100  # points of the curve of a weight
Line = dict[str, Any]


def describe(run: StoredRun, lines: Sequence[Line], shown: Sequence[Metric]) -> dict[str, Any]:
    """Returns "protocol", words on what chose the model; "results", rows of (data set, split, step, values) at the step
    of the model; and "terms", the figure of a sum of terms.

    Args:
      run: the run.
      lines: of its log.
      shown: the metrics that are compared.
    """
    tested = [line for line in lines if line.get("split") == "test" and line.get("protocol") != protocol.UNSELECTED]
    chosen = tested[-1].get("protocol", "") if tested else ""
    return {
        "protocol": protocol.TOLD.get(chosen, ""),
        "oracle": chosen == protocol.ORACLE,
        "results": _results(lines, shown),
        "terms": _terms(run, lines),
    }


def _results(lines: Sequence[Line], shown: Sequence[Metric]) -> list[dict[str, Any]]:
    """The last results on each data set and split; none of a run that has one data set alone."""
    best = next((line for line in reversed(lines) if line.get("event") == "best"), None)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        split = line.get("split", "train")
        tested = split == "test" and line.get("protocol") != protocol.UNSELECTED
        if split != "train" and (tested or best is None or line.get("step") == best["best_step"]):
            for name, values in _by_data_set(line).items():
                if any(metric.name in values for metric in shown):
                    shown_as = "validation" if split == "selection" else split
                    found[name, shown_as] = {"step": line.get("step"), "values": values}
    if {name for name, _ in found} <= {""} and len({split for _, split in found} - {"validation"}) < 2:
        return []
    return [{"data": name or "target", "split": split, **row} for (name, split), row in sorted(found.items())]


def _by_data_set(line: Line) -> dict[str, dict[str, float]]:
    """The metrics of a line by the stream that stands before a stroke in their names; "" of the target."""
    found: dict[str, dict[str, float]] = {}
    for key, value in line.items():
        stream, _, metric = key.rpartition("/")
        found.setdefault(stream, {})[metric] = value
    return found


def _terms(run: StoredRun, lines: Sequence[Line]) -> Markup | None:
    """The figure of the terms that the log has; None where there are fewer than two."""
    try:
        weights = terms.weights(run.config.objective)
    except InputError:  # of a user's file that is gone, or of a schedule that optax has no more
        return None
    logged = {name for line in lines if line.get("split") == "train" for name in line}
    weights = {name: weight for name, weight in weights.items() if name in logged}
    if len(weights) < 2:
        return None
    last = max((line["step"] for line in lines if line.get("split") == "train"), default=0)
    return Markup(figures.terms(lines, {name: _points(weight, last) for name, weight in weights.items()}))


def _points(weight: Any, last: int) -> list[tuple[int, float]]:
    """(step, weight)…, the first pair alone where all weights are the same."""
    steps = np.unique(np.linspace(0, last, _STEPS).astype(int)).tolist()
    points = [(step, float(weight(step))) for step in steps]
    return points[:1] if len({value for _, value in points}) == 1 else points
