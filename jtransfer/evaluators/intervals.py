"""Evaluates how far the metrics of a split may be from those of all examples of its kind."""

from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer import metrics
from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context, Evaluate
from jtransfer.metrics import sampled


def make(context: Context, split: str, *, level: float = 0.95, draws: int = 0) -> Evaluate:
    """Makes an evaluator of the intervals of the task's metrics and of those in `config.metrics`.

    It yields `<metric>_low` and `<metric>_high`: Wilson's interval of shares of the examples, and of all others the
    percentiles of the bootstrap over the examples (`metrics.sampled`).

    Args:
      context: What is known of the run.
      split: The split to evaluate on.
      level: The confidence.
      draws: Of the bootstrap; 0 is from 100 to 1,000, as the table is large or small.

    Raises:
      InputError: `level` is none, or `draws` is below 0.
    """
    if not 0 < level < 1:
        raise InputError(f"evals: level={level} of 'intervals' must be between 0 and 1, such as 0.95")
    if draws < 0:
        raise InputError(f"evals: draws={draws} of 'intervals' must be at least 0")
    task, names = context.task, context.class_names
    more = [metrics.load(name) for name in context.config.metrics]

    def scored(table: Mapping[str, Any]) -> dict[str, float]:
        added = {one.name: float(one.compute(table, names)) for one in more if one.compute is not None}
        return {**dict(task.score(dict(table), names)), **added}

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        table = context.table(variables, split)
        table = {**table, **task.by_row(table)}
        for name, (low, high) in sampled.of_scores(scored, table, not task.by_token, level, draws).items():
            yield f"{name}_low", low
            yield f"{name}_high", high

    return evaluate
