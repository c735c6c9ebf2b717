"""Evaluates the metrics of the task on a split."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer import metrics
from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context, Evaluate


def make(context: Context, split: str) -> Evaluate:
    """Makes an evaluator of the metrics of the task and of those in `config.metrics`, which also keeps the predictions.

    Args:
      context: What is known of the run.
      split: The split to evaluate on.

    Raises:
      InputError: `config.metrics` names a metric that can't be computed.
    """
    task, names = context.task, context.class_names
    more = [_fitting(metrics.load(name), context) for name in context.config.metrics]

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float | np.ndarray]]:
        table = context.table(variables, split)
        yield from task.score(table, names)
        for metric in more:
            assert metric.compute is not None
            yield metric.name, float(metric.compute(table, names))
        yield from task.finish(table).items()

    return evaluate


def _fitting(metric: metrics.Metric, context: Context) -> metrics.Metric:
    if metric.kinds and not set(metric.kinds) & set(context.task.label_kinds):
        kinds = " or ".join(map(repr, metric.kinds))
        raise InputError(
            f"metrics: {metric.name!r} is of labels of the kind {kinds}; task={context.task.name!r} has none"
        )
    return metric
