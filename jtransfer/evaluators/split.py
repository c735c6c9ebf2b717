"""The task's metrics on a split, from the model's outputs for all of its examples."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer import metrics
from jtransfer.evaluators.base import Context, Evaluate


def make(context: Context, split: str) -> Evaluate:
    """An evaluator of the metrics that the task gives and of those in `config.metrics`; it keeps the predictions.

    Raises:
      InputError: `config.metrics` names no metric that can be computed.
    """
    task, names = context.task, context.class_names
    more = [metrics.load(name) for name in context.config.metrics]

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float | np.ndarray]]:
        table = context.table(variables, split)
        yield from task.score(table, names)
        for metric in more:
            assert metric.compute is not None
            yield metric.name, float(metric.compute(table, names))
        yield from task.finish(table).items()

    return evaluate
