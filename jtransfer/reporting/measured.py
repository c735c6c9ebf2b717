"""What a report says of all else that was measured of a run's model: intervals, corruption, groups, coverage."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from jtransfer.metrics import SCORE, Metric, sampled, selective
from jtransfer.reporting import figures
from jtransfer.runs import protocol
from jtransfer.runs.open import StoredRun

_INTERVALS = ("_low", "_high")
_HIDDEN = ("step", "phase", "split", "protocol", "accuracy")  # which a task that is told by it shows
_POINTS = 200  # of a curve

Line = Mapping[str, Any]


def describe(
    run: StoredRun, lines: Sequence[Line], shown: Sequence[Metric], predictions: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns "intervals", metric → interval of the last predictions; "also", further metrics of the test split;
    "corrupted", the figure of corruptions; "groups", a row for each group; and "coverage", the figure of risk over
    coverage."""
    tested = [line for line in lines if line.get("split") == "test" and line.get("protocol") != protocol.UNSELECTED]
    last = tested[-1] if tested else {}
    return {
        "intervals": _intervals(run, predictions),
        "also": _also(run, last, shown),
        "corrupted": _corrupted(run, last),
        "groups": _groups(run, last),
        "coverage": _coverage(predictions),
    }


def _intervals(run: StoredRun, predictions: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """The intervals of the task's metrics, which are computed of the predictions that are kept."""
    if "label" not in predictions or not run.task.label_kinds:
        return {}
    table = {name: array for name, array in predictions.items() if name != "index"}
    if "probs" in table:
        table["logits"] = np.log(np.maximum(table.pop("probs"), np.finfo(np.float32).tiny))
    table = {"label": table["label"], **run.task.by_row(table)}

    def score(rows: sampled.Table) -> dict[str, float]:
        return dict(run.task.score(dict(rows), run.class_names))

    try:
        return sampled.of_scores(score, table, not run.task.by_token)
    except (LookupError, TypeError):  # a task of one's own keeps other predictions than it scores
        return {}


def _also(run: StoredRun, last: Line, shown: Sequence[Metric]) -> list[dict[str, Any]]:
    """Metrics of the test split that no other table has, with their intervals where the log has them."""
    known = {metric.name for metric in shown}
    names = [name for name in last if name not in (*known, *_HIDDEN) and "/" not in name]
    names = [name for name in names if not name.endswith(_INTERVALS)]
    rows = [_named(run.metric(name).title, run.metric(name).kind, name, last) for name in names]
    thresholds = [name for name in last if name.startswith("threshold/")]
    return rows + [_named(name.replace("/", " of ", 1), SCORE, name, last) for name in thresholds]


def _named(title: str, kind: str, name: str, last: Line) -> dict[str, Any]:
    low, high = (last.get(f"{name}{end}") for end in _INTERVALS)
    return {"title": title, "kind": kind, "value": last[name], "low": low, "high": high}


def _corrupted(run: StoredRun, last: Line) -> dict[str, Any] | None:
    points: dict[str, dict[int, float]] = {}
    metric = ""
    for name, value in last.items():
        parts = name.split("/")
        if parts[0] == "corrupted" and len(parts) == 4 and parts[3].isdigit() and value is not None:
            metric = parts[1]
            points.setdefault(parts[2], {})[int(parts[3])] = value
    clean = points.pop("none", {}).get(0)
    if not points:
        return None
    series = {how: {**({} if clean is None else {0: clean}), **values} for how, values in points.items()}
    title = run.metric(metric).title
    return {"figure": Markup(figures.severities(series, title)), "metric": title}


def _groups(run: StoredRun, last: Line) -> dict[str, Any] | None:
    names = [name for name in last if name.startswith("groups/")]
    if not names:
        return None
    metric = run.metric(names[0].split("/")[1])
    rows = [(name.split("/", 2)[2], last[name]) for name in names]
    rows.sort(key=lambda row: math.inf if row[1] is None else row[1], reverse=metric.less_is_better)
    sizes = {name.partition("/")[2]: size for name, size in last.items() if name.startswith("group_sizes/")}
    found = [{"name": name, "value": value, "examples": sizes.get(name)} for name, value in rows]
    return {"metric": metric.title, "kind": metric.kind, "rows": found}


def _coverage(predictions: Mapping[str, np.ndarray]) -> Markup | None:
    """The figure of risk over coverage."""
    if "probs" not in predictions or len(predictions["label"]) < 2:
        return None
    probs = predictions["probs"]
    curve = selective.curve(probs.max(1), probs.argmax(1) != predictions["label"])
    rows = np.unique(np.linspace(0, len(curve.risk) - 1, _POINTS).astype(int))
    return Markup(figures.coverage(curve.coverage[rows], curve.risk[rows]))
