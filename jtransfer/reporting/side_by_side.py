"""Several runs side by side: one page, with what each reached, what sets them apart, and their curves."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from markupsafe import Markup

from jtransfer.core import pages, whole_file
from jtransfer.core.errors import InputError
from jtransfer.metrics import SCORE, SHARE, Metric
from jtransfer.models.title import title as model_title
from jtransfer.objectives import TARGET
from jtransfer.reporting import figures, measured, page, results, written
from jtransfer.runs import comparison, paired
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run

USUAL = "reports.html"
_WORDS = {"helped": "better", "hurt": "worse"}


def write(folders: Sequence[str | os.PathLike], to: str | os.PathLike = "", *, attribution: bool = True) -> epath.Path:
    """Writes the page of several runs, or of one, into a file; returns its path.

    Args:
      folders: Of the runs; the others are compared with the first.
      to: The file; "" is `reports.html` in the current folder.
      attribution: Of one run, whether what the shown predictions rest on is computed.

    Raises:
      InputError: A folder is no run's or is given twice, or the file can't be written or is no page.
    """
    path = epath.Path(to or USUAL)
    runs = [open_run(folder) for folder in folders]
    places = [str(run.folder.resolve()) for run in runs]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise InputError(f"{folders[i]} is given twice")
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"--to={path}: give a file in a folder that there is")
    if path.exists() and not path.read_bytes().lstrip()[:9].lower().startswith(b"<!doctype"):
        raise InputError(f"--to={path} is there already, and is no page; give another name")
    text = page.made(runs[0], attribution=attribution) if len(runs) == 1 else render(runs)
    whole_file.write(path, text.encode())
    return path


def render(runs: Sequence[StoredRun]) -> str:
    """Returns the page.

    Raises:
      InputError: The files of a run do not fit together.
    """
    names, found = _names(runs), []
    for name, run in zip(names, runs, strict=True):
        with page.fitting(run.folder):
            found.append(_of(name, run))
    shown = list({metric.name: metric for one in found for metric in one["shown"]}.values())
    for one, run in zip(found, runs, strict=True):
        with page.fitting(run.folder):
            one["difference"] = None if run is runs[0] else _difference(run, runs[0])
    metric = found[0]["shown"][0]
    series = {one["name"]: one["points"] for one in found if one["points"] and one["shown"][0].name == metric.name}
    environment = pages.environment(Path(__file__).parent, **written.FILTERS)
    return environment.get_template("runs.html.jinja").render(
        rows=found,
        shown=shown,
        best=_best(runs, names),
        curves=Markup(figures.runs(series, metric.title)) if series else None,
        apart=_apart(names, runs),
    )


def _names(runs: Sequence[StoredRun]) -> list[str]:
    """The names of the folders; of several that are called alike, as much of their paths as tells them apart."""
    parts = [run.folder.resolve().parts for run in runs]
    longest = max(map(len, parts))
    for size in range(1, longest + 1):
        names = ["/".join(part[-size:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in runs]


def _of(name: str, run: StoredRun) -> dict[str, Any]:
    """What a run has reached, and what it took."""
    lines = run.lines
    shown = page.shown_metrics(run, lines)
    phases = list(page.phases_of(lines, shown))
    last, found = results.tested(lines), measured.intervals_of(run, run.predictions)
    told = results.describe(run, lines, shown)
    held = next((row for row in told["results"] if row["split"] == "validation" and row["data"] == TARGET), {})
    return {
        "name": name,
        "model": model_title(run.config.model.name, run.config.model.fields.to_dict()),
        "data": run.config.data.name,
        "shown": shown,
        "values": {metric.name: last.get(metric.name) for metric in shown},
        "intervals": found,
        "step": held.get("step", last.get("step")),
        "validation": held.get("values", {}).get(shown[0].name),
        "metric": shown[0],
        "protocol": told["protocol"],
        "steps": max((phase["end"] for phase in phases), default=0),
        "trained": phases[-1]["trainable"] if phases else None,
        "seconds": page.total(phases, "seconds", sum),
        "memory": page.total(phases, "peak_rss_mb", max),
        "running": bool(phases) and not phases[-1]["done"],
        "points": _points(lines, shown[0].name),
    }


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of the first of validation, test and training that the log has the metric of."""
    for split in ("validation", "test", "train"):
        found = [(one["step"], one[name]) for one in lines if one.get("split") == split and one.get(name) is not None]
        if found:
            return found
    return []


def _difference(run: StoredRun, first: StoredRun) -> dict[str, Any]:
    """How much better a run is than the first, on the same examples; "why" where that can't be told."""
    own, other = run.predictions, first.predictions
    if run.config.task != first.config.task:
        return {"why": "another task"}
    if "index" not in own or "index" not in other:
        return {"why": "no predictions of examples are kept"}
    if why := _other_examples(own, other):
        return {"why": why}
    metric = run.metric(paired.metric_of(run.task, own, run.class_names))
    gap = paired.compare(run.task, metric.name, metric.less_is_better, own, other, run.class_names)
    if gap is None:
        return {"why": "no example in common"}
    return {"why": "", "gap": _gap(metric, gap), "word": _WORDS.get(gap.word, gap.word), "examples": gap.examples}


def _other_examples(own: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> str:
    """Why two runs were not tested on the same examples; "" where they were."""
    _, i, j = np.intersect1d(own["index"], other["index"], return_indices=True)
    both = "label" in own and "label" in other
    if not len(i) or (both and not np.array_equal(own["label"][i], other["label"][j])):
        return "tested on other examples"
    if "probs" in own and "probs" in other and own["probs"].shape[1] != other["probs"].shape[1]:
        return "other classes"
    return ""


def _gap(metric: Metric, gap: paired.Difference) -> str:
    factor, digits = (100, 1) if metric.kind in (SHARE, SCORE) else (1, 3)
    middle, low, high = (
        written.signed(factor * value, digits) for value in (gap.first - gap.second, gap.low, gap.high)
    )
    return f"{middle} {metric.title} ({low} to {high})"


def _best(runs: Sequence[StoredRun], names: Sequence[str]) -> str:
    """A line on which run is the best by what chose its model, or on why that can't be told."""
    try:
        first = comparison.compare([run.folder for run in runs])[0]
    except InputError as error:
        return f"Which run is the best is not said: {error}."
    name = names[[str(run.folder) for run in runs].index(first.folder)]
    by = f"By {first.metric} ({first.protocol}), without a look at the test split,"
    return f"{by} {name} is the best: {first.value:.4g}."


def _apart(names: Sequence[str], runs: Sequence[StoredRun]) -> list[tuple[str, list[str]]]:
    """The fields of the configs that are not the same in all runs."""
    configs = [dict(page.flat(json.loads(run.config.to_json()))) for run in runs]
    fields = dict.fromkeys(field for config in configs for field in config)
    rows = [(field, [config.get(field, "") for config in configs]) for field in fields]
    return [(field, values) for field, values in rows if len(set(values)) > 1]
