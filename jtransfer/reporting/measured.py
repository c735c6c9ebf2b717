"""What a report says of all else that was measured of a run's model: intervals, corruption, groups, coverage."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from jtransfer.metrics import SCORE, Metric, sampled, selective
from jtransfer.objectives import TARGET
from jtransfer.reporting import figures, results
from jtransfer.runs.open import StoredRun

_INTERVALS = ("_low", "_high")
_HIDDEN = ("step", "phase", "split", "protocol", "accuracy")  # which a task that is told by it shows
_POINTS = 200  # of a curve

Line = results.Line


def describe(
    run: StoredRun, lines: Sequence[Line], shown: Sequence[Metric], predictions: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns "intervals", metric → interval of the last predictions; "also", further metrics of the test split;
    "corrupted", the figure of corruptions; "groups", a row for each group; and "coverage", the figure of risk over
    coverage."""
    last, found = results.tested(lines), intervals_of(run, predictions)
    return {
        "intervals": found,
        "also": _also(run, last, shown, found),
        "corrupted": _corrupted(run, last),
        "groups": _groups(run, last),
        "coverage": _coverage(predictions),
    }


def intervals_of(run: StoredRun, predictions: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Returns the intervals of the metrics of a run's task and config, computed of the predictions that are kept."""
    if "label" not in predictions or not run.task.label_kinds:
        return {}
    table = {name: array for name, array in predictions.items() if name != "index"}
    if "probs" in table:
        table["logits"] = np.log(np.maximum(table.pop("probs"), np.finfo(np.float32).tiny))
    table = {"label": table["label"], **run.task.by_row(table)}

    def score(rows: sampled.Table) -> dict[str, float]:
        added = run.added_metrics
        more = {one.name: float(one.compute(rows, run.class_names)) for one in added if one.compute is not None}
        return {**dict(run.task.score(dict(rows), run.class_names)), **more}

    try:
        return sampled.of_scores(score, table, not run.task.by_token)
    except (LookupError, TypeError, ValueError):  # a task of one's own keeps other predictions than it scores
        return {}


def _also(
    run: StoredRun, last: Line, shown: Sequence[Metric], found: Mapping[str, results.Interval]
) -> list[results.Row]:
    """Metrics of the test split that no other table has, with their intervals: those of the log, or those found."""
    known = {metric.name for metric in shown}
    names = [name for name in last if name not in (*known, *_HIDDEN) and "/" not in name]
    names = [name for name in names if not name.endswith(_INTERVALS)]
    thresholds = [name for name in last if name.startswith("threshold/")]
    titles = {name: run.metric(name).title for name in names}
    titles |= {name: name.replace("/", " of ", 1) for name in thresholds}
    rows = []
    for name, title in titles.items():
        low, high = (last.get(f"{name}{end}") for end in _INTERVALS)
        interval = found.get(name) if low is None or high is None else (low, high)
        kind = SCORE if name in thresholds else run.metric(name).kind
        rows.append(results.row(run, TARGET, "test", title, kind, last[name], interval, name))
    return rows


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
