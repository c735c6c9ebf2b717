"""Evaluates a model on another data set with the same classes, to which its own is shifted."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer import metrics
from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context, Evaluate

NAME = "shifted"


def make(context: Context, split: str, *, data: Mapping[str, Any], called: str = "") -> Evaluate:
    """Makes an evaluator of the metrics of the task, and of those in `config.metrics`, on another data set.

    They are told with those of the split, as `<called>/<metric>`. There may be any number of such evaluators.

    Args:
      context: What is known of the run.
      split: The split that the metrics are told with, and at whose turns they are taken.
      data: Fields of `config.data` that differ, at least `name`; `test` is the split that is taken of these data. Its
        classes go by their names, and some of the run's may be missing.
      called: What the data are called; by default their name without its folder.

    Raises:
      InputError: The data can't be read, have classes that the run has not, or are called as other data of the run are.
    """
    if not data.get("name"):
        raise InputError(f"evals: {NAME!r} needs data={{'name': …}}, as in config.data")
    own = called or _short(data["name"])
    if "/" in own:
        raise InputError(f"evals: called={own!r} of {NAME!r} may have no '/'")
    entries = [entry for entry in context.config.evals if entry.name == NAME and entry.split == split]
    same = [one for one in entries if (one.fields.get("called") or _short(one.fields["data"]["name"])) == own]
    if len(same) > 1 or own in (*context.streams, *context.others(split), "corrupted"):
        raise InputError(f"evals: several data sets are called {own!r}; give each of 'shifted' another called=…")
    source = context.opened(data)
    more = [metrics.load(name) for name in context.config.metrics]

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        table = context.of_source(variables, source)
        for name, value in context.task.score(table, context.class_names):
            if np.ndim(value) == 0:
                yield f"{own}/{name}", float(value)
        for metric in more:
            assert metric.compute is not None
            yield f"{own}/{metric.name}", float(metric.compute(table, context.class_names))

    return evaluate


def _short(name: str) -> str:
    """The name of a data set without its folder: `folder:/data/sketches` → `sketches`."""
    return name.rstrip("/").rpartition("/")[2].rpartition(":")[2] or name
