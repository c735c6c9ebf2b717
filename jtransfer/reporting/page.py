"""The report: a run's folder → `report.html`, one file that needs no other.

It says how good the model is and what each phase changed, what was trained, where the model errs and how sure it is of
itself, and what the run cost. It can be written while the run goes on, and again afterwards. A `baseline` event in
`metrics.jsonl` (`{"event": "baseline", "name": …, "accuracy": …, "macro_f1": …}`) is compared with too.
"""

import json
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from etils import epath
from markupsafe import Markup

from jtransfer.core import pages, whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.text_table import format_bytes
from jtransfer.metrics import NUMBER, PERCENT, SCORE, SHARE, Metric, intervals
from jtransfer.models.title import title as model_title
from jtransfer.reporting import adapters, domains, errors, figures, measured, other_tasks, results, tried, verdict
from jtransfer.runs import log
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run


def write(folder: str | os.PathLike) -> epath.Path:
    """Writes `report.html` into a run's folder and returns its path.

    Raises:
      InputError: the folder, its `metrics.jsonl` or `config.json` is missing or broken.
    """
    run = open_run(folder)
    path = run.folder / "report.html"
    try:
        page = render(run, title=run.folder.resolve().name)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, jinja2.UndefinedError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{folder}: no report can be made, for the run's files do not fit together: {log.FILE}, predictions.npz, "
            f"classes.json or config.json is damaged ({what:.200})"
        ) from error
    whole_file.write(path, page.encode())
    return path


def render(run: StoredRun, *, title: str) -> str:
    """The page."""
    written = {"count": _count, "megabytes": _megabytes, "bytes": _bytes, "seconds": _seconds, "metric": _written}
    environment = pages.environment(Path(__file__).parent, **written)
    lines, predictions = run.lines, run.predictions
    shown = _shown(run, lines)
    phases = list(_phases(lines, shown))
    headline = _headline(run, phases, shown[0], predictions)
    found = results.describe(run, lines, shown)
    for row in found["results"]:
        row["cells"] = [_cell(metric, row["values"].get(metric.name), None) for metric in shown]
    return environment.get_template("report.html.jinja").render(
        title=title,
        run=run,
        phases=phases,
        headline=headline,
        baselines=[
            {
                "name": line.get("name"),
                "cells": [_cell(metric, line.get(metric.name), None) for metric in shown],
                "gain": _cell(shown[0], headline["value"], line.get(shown[0].name)),
            }
            for line in _events(lines, "baseline")
        ],
        init=next(reversed(_events(lines, "init")), None),
        stops=_events(lines, "early_stop"),
        best=_best(run, lines),
        shown=[metric.title for metric in shown],
        metrics=shown,
        curves=Markup(_curves(lines, phases, shown[0])),
        config=_flat(json.loads(run.config.to_json())),
        environment=_flat(run.environment),
        other_tasks=[_other_task(row) for row in other_tasks.rows(run)],
        **found,
        **verdict.describe(run),
        **measured.describe(run, lines, shown, predictions),
        **domains.describe(run),
        **adapters.describe(run),
        **errors.describe(run, predictions),
        **tried.describe(run),
    )


def _events(lines: Sequence[dict], name: str) -> list[dict]:
    return [line for line in lines if line.get("event") == name]


def _best(run: StoredRun, lines: Sequence[dict]) -> dict | None:
    """The step with which the last phase ended, and why; None where no validation split decided it."""
    found = next(reversed(_events(lines, "best")), None)
    if found is None:
        return None
    stream, _, name = found["metric"].rpartition("/")
    metric, told = run.metric(name), found.get("protocol", "validation")
    where = {"validation": "validation ", "oracle": "validation "}.get(told, f"{stream} validation " if stream else "")
    return {
        "step": found["best_step"],
        "metric": f"{where}{metric.title}",
        "text": _written(found["value"], metric.kind),
    }


def _shown(run: StoredRun, lines: Sequence[dict]) -> list[Metric]:
    """The metrics that are compared: of those that the task shows and the config adds, those that there are."""
    logged = {name for line in lines if line.get("split") == "test" for name in line}
    wanted = [*map(run.metric, run.task.shown), *run.added_metrics]
    return [metric for metric in wanted if metric.name in logged] or wanted


def _cell(metric: Metric, value: float | None, before: float | None) -> dict:
    """A metric as it is written, with its change from a value before and whether that is for the better."""
    change = _difference(value, before)
    factor = 100 if metric.kind in (SHARE, SCORE) else 1
    better = None
    if change is not None and abs(change) * factor >= 0.05:
        better = (change < 0) == metric.less_is_better
    return {
        "text": _written(value, metric.kind),
        "change": None if change is None else _signed(change * factor, 2 if metric.kind == NUMBER else 1),
        "unit": " points" if factor == 100 else "",
        "better": better,
    }


def _other_task(row: other_tasks.Row) -> dict:
    cell, before = _cell(row.metric, row.now, row.before), _written(row.before, row.metric.kind)
    return {"task": row.task, "metric": row.metric.title, "compared": row.compared, "before": before, "cell": cell}


def _written(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    return {SHARE: f"{100 * value:.1f}\u202f%", PERCENT: f"{value:.1f}"}.get(kind, f"{value:.3f}")


def _curves(lines: Sequence[dict], phases: Sequence[dict], first: Metric) -> str:
    """The learning curves, with the metric that the task shows first."""
    spans = [figures.Span(phase["name"], phase["start"], phase["end"]) for phase in phases]
    title = first.title.capitalize() if first.title.islower() else first.title
    return figures.curves(lines, spans, (first.name, title))


def _phases(lines: Sequence[dict], shown: Sequence[Metric]) -> Iterator[dict]:
    """Each phase in order: its steps, what it trained, the last evaluation and its change from the phase before."""
    names = dict.fromkeys(
        line["phase"] for line in lines if "split" in line or line.get("event") in ("phase_start", "phase_end")
    )
    before: dict = {}
    for name in names:
        own = [line for line in lines if line.get("phase") == name]
        start, end = ({} | next(reversed(_events(own, event)), {}) for event in ("phase_start", "phase_end"))
        steps = [line["step"] for line in own if "split" in line or line.get("event") in ("phase_start", "phase_end")]
        test = next((line for line in reversed(own) if line.get("split") == "test"), {})
        yield {
            "name": name,
            "start": start.get("step", min(steps)),
            "end": end.get("step", max(steps)),
            "done": bool(end),
            "test": test,
            "cells": [_cell(metric, test.get(metric.name), before.get(metric.name)) for metric in shown],
            "trainable": start.get("trainable"),
            "table": start.get("table", []),
            "examples_per_second": _speed(own),
            **{key: end.get(key) for key in ("seconds", "peak_rss_mb", "device_memory_mb")},
        }
        before = test or before


def _speed(lines: Sequence[dict]) -> float | None:
    """The median of a phase's training speed, so that compilation and pauses do not count."""
    speeds = [line["examples_per_second"] for line in lines if line.get("examples_per_second") and "split" in line]
    return statistics.median(speeds) if speeds else None


def _difference(new: float | None, old: float | None) -> float | None:
    return None if new is None or old is None else new - old


def _headline(run: StoredRun, phases: Sequence[dict], metric: Metric, predictions: Mapping) -> dict:
    """The numbers of the last evaluation, and what the whole run cost."""
    tested = [phase for phase in phases if phase["test"].get(metric.name) is not None]
    values = [phase["test"][metric.name] for phase in tested]
    last, value = (tested[-1], values[-1]) if tested else (None, None)
    examples = len(predictions["label"]) if "label" in predictions else None
    return {
        "data": run.config.data.name,
        "model": model_title(run.config.model.name, run.config.model.fields.to_dict()),
        "metric": metric.title,
        "first": tested[0] if len(tested) > 1 else None,
        "last": last,
        "value": value,
        "since": _cell(metric, value, values[0]) if tested else None,
        "examples": examples,
        "interval": intervals.wilson(values[-1] * examples, examples)
        if metric.name == "accuracy" and values and examples
        else None,
        "seconds": _total(phases, "seconds", sum),
        "peak_rss_mb": _total(phases, "peak_rss_mb", max),
        "device_memory_mb": _total(phases, "device_memory_mb", max),
        "steps": max((phase["end"] for phase in phases), default=0),
        "running": bool(phases) and not phases[-1]["done"],
    }


def _total(phases: Sequence[dict], key: str, fold: Callable) -> float | None:
    values = [phase[key] for phase in phases if phase[key] is not None]
    return fold(values) if values else None


def _flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """`[("optim.lr", "0.003"), …]`."""
    if isinstance(tree, Mapping) and (tree or not prefix):
        return [row for key, value in tree.items() for row in _flat(value, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False))]


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}".replace(",", "\u202f")


def _megabytes(number: float | None) -> str:
    return _bytes(None if number is None else number * 2**20)


def _bytes(number: float | None) -> str:
    return "–" if number is None else format_bytes(number)


def _seconds(number: float | None) -> str:
    if number is None:
        return "–"
    if number < 60:
        return f"{number:.1f} s"
    minutes, seconds = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _signed(difference: float, decimals: int = 1) -> str:
    """`+1.7`."""
    return f"{difference:+.{decimals}f}".replace("-", "\u2212")
