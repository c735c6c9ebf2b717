"""The report: a run's folder → `report.html`, one file that needs no other.

It says how good the model is and what each phase changed, what was trained, where the model errs and how sure it is of
itself, and what the run cost. It can be written while the run goes on, and again afterwards. A `baseline` event in
`log.jsonl` (`{"event": "baseline", "name": …, "accuracy": …, "macro_f1": …}`) is compared with too.
"""

import json
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from etils import epath
from markupsafe import Markup

from jtransfer import tasks
from jtransfer.core.errors import InputError
from jtransfer.core.text_table import format_bytes
from jtransfer.reporting import errors as mistakes
from jtransfer.reporting import figures
from jtransfer.runs import folder as workdir
from jtransfer.runs import log

SHARE, SCORE, NUMBER, PERCENT = "share", "score", "number", "percent"
METRICS = {  # what a task may show: its title, and how it is written
    "accuracy": ("accuracy", SHARE),
    "retrieval": ("own partner nearest", SHARE),
    "macro_f1": ("macro-F1", SCORE),
    "micro_f1": ("micro-F1", SCORE),
    "entity_f1": ("entity-F1", SCORE),
    "ece": ("ECE", SHARE),
    "loss": ("loss", NUMBER),
    "spearman": ("Spearman", NUMBER),
    "pearson": ("Pearson", NUMBER),
    "mae": ("mean error", NUMBER),
    "perplexity": ("perplexity", NUMBER),
    "bleu": ("BLEU", PERCENT),
    "chrf": ("chrF", PERCENT),
}


class Run(NamedTuple):
    """What a run's folder holds; None or empty for what it lacks."""

    config: dict
    environment: dict
    lines: list[dict]
    classes: list[str]
    predictions: dict[str, np.ndarray] | None


def write(folder: str | os.PathLike) -> epath.Path:
    """Writes `report.html` into a run's folder and returns its path.

    Raises:
      InputError: the folder, its `log.jsonl` or `config.json` is missing or broken.
    """
    path = epath.Path(folder)
    page = render(read(path), title=path.resolve().name)
    new = path / "report.html.tmp"
    new.write_text(page)
    return new.replace(path / "report.html")


def read(folder: epath.Path) -> Run:
    """The contents of a run's folder; InputError where it is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a run")
    config = workdir.read_json(folder / "config.json")
    try:
        lines = log.read(folder)
    except FileNotFoundError:
        raise InputError(f"{folder} is not the folder of a run: {log.FILE} is missing") from None
    except ValueError as error:
        raise InputError(str(error)) from None
    predictions = _predictions(folder / "predictions.npz")
    environment, classes = (
        workdir.read_json(path) if path.exists() else {}
        for path in (folder / "environment.json", folder / "classes.json")
    )
    return Run(config, environment, lines, _class_names(classes.get("class_names", []), predictions), predictions)


def render(run: Run, *, title: str) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "megabytes": _megabytes,
        "bytes": _bytes,
        "seconds": _seconds,
    }
    shown = _shown(run)
    phases = list(_phases(run.lines, shown))
    headline = _headline(run, phases, shown[0])
    return environment.get_template("report.html.jinja").render(
        title=title,
        run=run,
        phases=phases,
        headline=headline,
        baselines=[
            {
                "name": line.get("name"),
                "cells": [_cell(key, line.get(key), None) for key in shown],
                "gain": _cell(shown[0], headline["value"], line.get(shown[0])),
            }
            for line in _events(run.lines, "baseline")
        ],
        init=next(reversed(_events(run.lines, "init")), None),
        stops=_events(run.lines, "early_stop"),
        shown=[METRICS[name][0] for name in shown],
        curves=Markup(_curves(run, phases, shown[0])),
        config=_flat(run.config),
        environment=_flat(run.environment),
        **mistakes.describe(run.config, run.classes, run.predictions or {}),
    )


def _predictions(path: epath.Path) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise InputError(f"{path} cannot be read: {error}") from None


def _class_names(names: Sequence[str], predictions: Mapping | None) -> list[str]:
    """The names that are known, and the number of each class that has none."""
    number = max(len(names), predictions["probs"].shape[1] if predictions and "probs" in predictions else 0)
    return [str(name) for name in names] + [str(i) for i in range(len(names), number)]


def _events(lines: Sequence[dict], name: str) -> list[dict]:
    return [line for line in lines if line.get("event") == name]


def _shown(run: Run) -> list[str]:
    """The metrics that are compared: of those that the task shows, those that there are."""
    task = tasks.TASKS.get(run.config.get("task") or "images", tasks.TASKS["images"])
    logged = {name for line in run.lines if line.get("split") == "test" for name in line}
    return [name for name in task.shown if name in logged] or list(task.shown)


def _cell(name: str, value: float | None, before: float | None) -> dict:
    """A metric as it is written, with its change from a value before and whether that is for the better."""
    kind = METRICS[name][1]
    change = _difference(value, before)
    factor = 100 if kind in (SHARE, SCORE) else 1
    near = change is None or abs(change) * factor < 0.05
    return {
        "text": _written(value, kind),
        "change": None if change is None else _signed(change * factor, 2 if kind == NUMBER else 1),
        "unit": " points" if factor == 100 else "",
        "better": None if near else (change < 0) == (name in tasks.LESS_IS_BETTER),
    }


def _written(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    return {SHARE: f"{100 * value:.1f}\u202f%", PERCENT: f"{value:.1f}"}.get(kind, f"{value:.3f}")


def _curves(run: Run, phases: Sequence[dict], first: str) -> str:
    """The learning curves, with the metric that the task shows first."""
    title = METRICS[first][0]
    spans = [figures.Span(phase["name"], phase["start"], phase["end"]) for phase in phases]
    return figures.curves(run.lines, spans, (first, title.capitalize() if title.islower() else title))


def _phases(lines: Sequence[dict], shown: Sequence[str]) -> Iterator[dict]:
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
            "cells": [_cell(key, test.get(key), before.get(key)) for key in shown],
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


def _headline(run: Run, phases: Sequence[dict], metric: str) -> dict:
    """The numbers of the last evaluation, and what the whole run cost."""
    tested = [phase for phase in phases if phase["test"].get(metric) is not None]
    first, last = (tested[0], tested[-1]) if tested else (None, None)
    value = last and last["test"][metric]
    examples = len(run.predictions["label"]) if run.predictions else None
    return {
        "data": _name(run.config.get("data")),
        "model": _name(run.config.get("model")),
        "metric": METRICS[metric][0],
        "first": first if len(tested) > 1 else None,
        "last": last,
        "value": value,
        "since": _cell(metric, value, first["test"][metric]) if last else None,
        "examples": examples,
        "interval": _wilson(value, examples) if metric == "accuracy" and last and examples else None,
        "seconds": _total(phases, "seconds", sum),
        "peak_rss_mb": _total(phases, "peak_rss_mb", max),
        "device_memory_mb": _total(phases, "device_memory_mb", max),
        "steps": max((phase["end"] for phase in phases), default=0),
        "running": bool(phases) and not phases[-1]["done"],
    }


def _name(value: Any) -> str:
    return str(value.get("name", "")) if isinstance(value, Mapping) else str(value or "")


def _total(phases: Sequence[dict], key: str, fold: Callable) -> float | None:
    values = [phase[key] for phase in phases if phase[key] is not None]
    return fold(values) if values else None


def _wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of `n` (Wilson 1927)."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return centre - half, centre + half


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
