"""What a report says of a run's results: what its model is chosen by, each data set's metrics, each term's curve."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from jtransfer.core.errors import InputError
from jtransfer.metrics import Metric, intervals, sampled
from jtransfer.objectives import TARGET, terms
from jtransfer.reporting import figures
from jtransfer.reporting.other_tasks import Row as Other
from jtransfer.runs import fingerprint, protocol
from jtransfer.runs.open import StoredRun

_STEPS = 100  # points of the curve of a weight
WILSON, BOOTSTRAP = "Wilson", "bootstrap"
Line = dict[str, Any]
Interval = tuple[float, float]


class Row(NamedTuple):
    """A metric on a split of a data set.

    Attributes:
      data: "target", "source" or a stream's name.
      split: its split.
      title: of the metric.
      kind: how it is written.
      value: the run's.
      low, high: its interval of 95 %; None where there is none.
      how: the method of the interval.
      against: what the value is compared with; "" where with nothing.
      before: the value of that.
      less_is_better: of the metric.
    """

    data: str
    split: str
    title: str
    kind: str
    value: float | None
    low: float | None = None
    high: float | None = None
    how: str = ""
    against: str = ""
    before: float | None = None
    less_is_better: bool = False


def tested(lines: Sequence[Line]) -> Line:
    """Returns the last line of the test split that is of the run's model; {} where there is none."""
    found = (line for line in reversed(lines) if line.get("split") == "test")
    return next((line for line in found if line.get("protocol") != protocol.UNSELECTED), {})


def describe(run: StoredRun, lines: Sequence[Line], shown: Sequence[Metric]) -> dict[str, Any]:
    """Returns "protocol", words on what chose the model; "results", rows of (data set, split, step, values) at the step
    of the model; and "terms", the figure of a sum of terms.

    Args:
      run: the run.
      lines: of its log.
      shown: the metrics that are compared.
    """
    chosen = tested(lines).get("protocol", "")
    return {
        "protocol": protocol.TOLD.get(chosen, ""),
        "oracle": chosen == protocol.ORACLE,
        "results": _results(lines, shown),
        "terms": _terms(run, lines),
    }


def row(
    run: StoredRun,
    data: str,
    split: str,
    title: str,
    kind: str,
    value: float | None,
    interval: Interval | None,
    name: str,
    less_is_better: bool = False,
) -> Row:
    """Returns a row with the method of its interval, which the metric's name tells."""
    how = "" if interval is None else WILSON if _is_share(run, name) else BOOTSTRAP
    return Row(data, split, title, kind, value, *(interval or (None, None)), how, less_is_better=less_is_better)


def table(
    run: StoredRun,
    results: Sequence[Mapping[str, Any]],
    shown: Sequence[Metric],
    found: Mapping[str, Interval],
    also: Sequence[Row],
    others: Iterable[Other],
) -> list[Row]:
    """Returns all results of a run, a row for each data set, split and metric.

    Args:
      run: the run.
      results: from `describe`.
      shown: the metrics that are compared.
      found: metric → interval on the test split.
      also: what else was measured on the test split.
      others: what tasks are compared with.
    """
    sizes, rows = _sizes(run), []
    for one in results:
        data, split, values = one["data"], one["split"], one["values"]
        whole, n = (data, split) == (TARGET, "test"), sizes.get((data, split), 0)
        for metric in (known for known in shown if known.name in values):
            value, name = values[metric.name], metric.name
            interval = found.get(name) if whole else None
            if interval is None and n and value is not None and _is_share(run, name):
                interval = intervals.wilson(value * n, n)
            about = metric.title, metric.kind, value, interval, name
            rows.append(row(run, data, split, *about, metric.less_is_better))
        rows += also if whole else ()
    for other in others:
        rows = _compared(rows, other)
    return rows


def _compared(rows: list[Row], other: Other) -> list[Row]:
    """The rows, with what a task is compared with in its row or, where it has none yet, in a further one."""
    metric, told = other.metric, {"against": other.compared, "before": other.before}
    told["less_is_better"] = metric.less_is_better
    for i, one in enumerate(rows):
        if one[:3] == (other.task, "test", metric.title) and not one.against:
            return [*rows[:i], one._replace(**told), *rows[i + 1 :]]
    return [*rows, Row(other.task, "test", metric.title, metric.kind, other.now)._replace(**told)]


def _is_share(run: StoredRun, name: str) -> bool:
    return name in sampled.SHARES and not run.task.by_token


def _sizes(run: StoredRun) -> dict[tuple[str, str], int]:
    """The number of examples of each data set and split, as far as the run has kept it."""
    try:
        streams = fingerprint.kept(run.folder)
    except InputError:
        return {}
    found = {
        (name, split): held.get("examples")
        for name, stream in streams.items()
        for split, held in stream.get("splits", {}).items()
    }
    return {key: size for key, size in found.items() if type(size) is int}


def _results(lines: Sequence[Line], shown: Sequence[Metric]) -> list[dict[str, Any]]:
    """The last results on each data set and split."""
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
    return [{"data": name or TARGET, "split": split, **row} for (name, split), row in sorted(found.items())]


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
