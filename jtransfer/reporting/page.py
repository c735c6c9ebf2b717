"""The report: a run's folder → `report.html`, one file that needs no other.

It says how good the model is and what each phase changed, what was trained, where the model errs and how sure it is of
itself, and what the run cost. It can be written while the run goes on, and again afterwards. A `baseline` event in
`metrics.jsonl` (`{"event": "baseline", "name": …, "accuracy": …, "macro_f1": …}`) is compared with too.
"""

import contextlib
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
from jtransfer.metrics import Metric
from jtransfer.models.title import title as model_title
from jtransfer.reporting import (
    adapters,
    attributed,
    domains,
    errors,
    figures,
    fused,
    guessing,
    links,
    measured,
    other_tasks,
    results,
    sets,
    tried,
    verdict,
    written,
)
from jtransfer.runs import log
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run


def write(folder: str | os.PathLike, *, attribution: bool = True) -> epath.Path:
    """Writes `report.html` into a run's folder and returns its path.

    Args:
      folder: the run's folder.
      attribution: whether what the shown predictions rest on is computed, for which the model is run.

    Raises:
      InputError: the folder, its `metrics.jsonl` or `config.json` is missing or broken.
    """
    run = open_run(folder)
    path = run.folder / "report.html"
    whole_file.write(path, made(run, attribution=attribution).encode())
    return path


def made(run: StoredRun, *, attribution: bool = True) -> str:
    """Returns the page of a run.

    Raises:
      InputError: the run's files do not fit together.
    """
    with fitting(run.folder):
        return render(run, title=run.folder.resolve().name, attribution=attribution)


@contextlib.contextmanager
def fitting(folder: str | os.PathLike) -> Iterator[None]:
    """Makes what fails where the files of a run do not fit together one line."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, jinja2.UndefinedError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{folder}: no report can be made, for the run's files do not fit together: {log.FILE}, predictions.npz, "
            f"classes.json or config.json is damaged ({what:.200})"
        ) from error


def render(run: StoredRun, *, title: str, attribution: bool = True) -> str:
    """The page.

    Args:
      run: the run.
      title: of the page.
      attribution: whether what the shown predictions rest on is computed, for which the model is run.
    """
    environment = pages.environment(Path(__file__).parent, **written.FILTERS)
    lines, predictions, opened = run.lines, run.predictions, sets.opener(run)
    shown = shown_metrics(run, lines)
    phases = list(phases_of(lines, shown))
    found = results.describe(run, lines, shown)
    more = measured.describe(run, lines, shown, predictions)
    guesses = guessing.describe(run, predictions)
    headline = _headline(run, phases, shown[0], predictions, more["intervals"])
    wrong = errors.describe(run, predictions, opened)
    asked = errors.shown(wrong) if attribution else {}
    return environment.get_template("report.html.jinja").render(
        title=title,
        run=run,
        phases=phases,
        headline=headline,
        guesses=[{**_baseline(one.name, one.values, shown, None), "own": one.own} for one in guesses],
        baselines=[_baseline(one.get("name"), one, shown, headline["value"]) for one in _events(lines, "baseline")],
        init=(init := next(reversed(_events(lines, "init")), None)),
        init_page=links.source(init.get("source") if init else None),
        code=links.code(run.environment),
        stops=_events(lines, "early_stop"),
        best=_best(run, lines),
        shown=[metric.title for metric in shown],
        metrics=shown,
        curves=Markup(_curves(lines, phases, shown[0])),
        speeds=Markup(figures.speeds(lines, _spans(phases))),
        config=flat(json.loads(run.config.to_json())),
        environment=flat(run.environment),
        measured=[
            {**one._asdict(), "cell": written.cell_of(one.kind, one.less_is_better, one.value, one.before)}
            for one in results.table(
                run, found["results"], shown, more["intervals"], more["also"], other_tasks.rows(run)
            )
        ],
        **found,
        **verdict.describe(run),
        **more,
        **sets.describe(run, opened, predictions),
        **domains.describe(run),
        **adapters.describe(run),
        **wrong,
        **attributed.describe(run, opened("test") if asked else None, asked),
        **tried.describe(run),
        **fused.describe(run, lines),
    )


def _baseline(name: Any, values: Mapping, shown: Sequence[Metric], value: float | None) -> dict:
    """What the run is compared with, in a row as a phase has it."""
    return {
        "name": name,
        "values": [values.get(metric.name) for metric in shown],
        "cells": [written.cell(metric, values.get(metric.name), None) for metric in shown],
        "gain": written.cell(shown[0], value, values.get(shown[0].name)),
    }


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
        "text": written.metric_text(found["value"], metric.kind),
    }


def shown_metrics(run: StoredRun, lines: Sequence[dict]) -> list[Metric]:
    """Returns the metrics that are compared: of those that the task shows and the config adds, those that there are."""
    logged = {name for line in lines if line.get("split") == "test" for name in line}
    wanted = [*map(run.metric, run.task.shown), *run.added_metrics]
    return [metric for metric in wanted if metric.name in logged] or wanted


def _curves(lines: Sequence[dict], phases: Sequence[dict], first: Metric) -> str:
    """The learning curves, with the metric that the task shows first."""
    title = first.title.capitalize() if first.title.islower() else first.title
    return figures.curves(lines, _spans(phases), (first.name, title))


def _spans(phases: Sequence[dict]) -> list[figures.Span]:
    return [figures.Span(phase["name"], phase["start"], phase["end"]) for phase in phases]


def phases_of(lines: Sequence[dict], shown: Sequence[Metric]) -> Iterator[dict]:
    """Yields each phase in order: its steps, what it trained, its last evaluation, the change from that before."""
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
            "values": [test.get(metric.name) for metric in shown],
            "cells": [written.cell(metric, test.get(metric.name), before.get(metric.name)) for metric in shown],
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


def _headline(
    run: StoredRun, phases: Sequence[dict], metric: Metric, predictions: Mapping, intervals: Mapping[str, Any]
) -> dict:
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
        "since": written.cell(metric, value, values[0]) if tested else None,
        "examples": examples,
        "interval": intervals.get(metric.name) if values else None,
        "kind": metric.kind,
        "seconds": total(phases, "seconds", sum),
        "peak_rss_mb": total(phases, "peak_rss_mb", max),
        "device_memory_mb": total(phases, "device_memory_mb", max),
        "steps": max((phase["end"] for phase in phases), default=0),
        "running": bool(phases) and not phases[-1]["done"],
    }


def total(phases: Sequence[dict], key: str, fold: Callable) -> float | None:
    """Returns what the phases have of something, folded; None where none has it."""
    values = [phase[key] for phase in phases if phase[key] is not None]
    return fold(values) if values else None


def flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Returns `[("optim.lr", "0.003"), …]`."""
    if isinstance(tree, Mapping) and (tree or not prefix):
        return [row for key, value in tree.items() for row in flat(value, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False))]
