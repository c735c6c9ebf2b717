"""Evaluates a model for each group of examples, and tells the worst."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer import metrics
from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context, Evaluate

NAME = "groups"
MOST = 50


def make(context: Context, split: str, *, column: str, metric: str = "", least: int = 10) -> Evaluate:
    """Makes an evaluator of the task's own metric for each value of a column, such as a hospital or a camera.

    It yields `groups/<metric>/<value>` and `group_sizes/<value>` for each value; `worst_group`, the worst of these
    values; and `group_gap`, how far it is from the best. The last two are of groups with at least `least` examples.

    Args:
      context: What is known of the run.
      split: The split to evaluate on.
      column: A column of the data, or a feature.
      metric: A metric of the task, or of `config.metrics`; "" is the task's own.
      least: How many examples a group must have to be the worst or the best.

    Raises:
      InputError: There is no such column or metric, or it has more than 50 values.
    """
    source = context.source(split)
    if source.column is None:
        raise InputError(
            f"evals: {NAME!r} needs data with columns, as of a table; {context.config.data.name} have none"
        )
    values = np.array([str(value) for value in source.column(column)])
    if len(values) != len(source):
        raise InputError(f"evals: {NAME!r} needs a group for each example, which rows of several examples have not")
    names = np.unique(values).tolist()
    if not 1 < len(names) <= MOST:
        raise InputError(f"evals: the column {column!r} has {len(names):,} values; {NAME!r} needs from 2 to {MOST}")
    wanted = metric or context.task.metric
    declared = next((one for one in map(metrics.load, context.config.metrics) if one.name == wanted), None)
    less = (declared or metrics.get(wanted)).less_is_better

    def scored(table: Mapping[str, Any]) -> float:
        if declared is not None and declared.compute is not None:
            return float(declared.compute(table, context.class_names))
        found = dict(context.task.score(dict(table), context.class_names))
        if wanted not in found:
            raise InputError(f"evals: {NAME!r} finds no metric {wanted!r}; there are {', '.join(found)}")
        return float(found[wanted])

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        table = context.table(variables, split)
        of_row, large = values[table["index"]], []
        for name in names:
            rows = np.flatnonzero(of_row == name)
            value = scored({key: array[rows] for key, array in table.items()})
            yield f"groups/{wanted}/{name}", value
            yield f"group_sizes/{name}", len(rows)
            large += [value] if len(rows) >= least and math.isfinite(value) else []
        if large:
            yield "worst_group", max(large) if less else min(large)
            yield "group_gap", max(large) - min(large)

    return evaluate
