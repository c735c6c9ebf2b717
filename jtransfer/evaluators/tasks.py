"""Evaluates the other tasks of a run: those of its streams, and the one that its init was trained on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context, Evaluate


def make(context: Context, split: str, *, only: Sequence[str] = ()) -> Evaluate:
    """Makes an evaluator of the metrics of each other task, as `name/metric`; it keeps no predictions.

    Args:
      context: What is known of the run.
      split: The split to evaluate on; tasks without it are passed over.
      only: Names of streams, or "source"; by default all.

    Raises:
      InputError: There is no such task, or none with this split.
    """
    others = context.others(split)
    if not others or set(only) - set(others):
        known = ", ".join(others) or "none"
        raise InputError(
            f"evals: 'tasks' looks at streams with data.{split}, and at config.source; those with {split!r} are {known}"
        )
    chosen = {name: other for name, other in others.items() if not only or name in only}

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float | np.ndarray]]:
        for name, other in chosen.items():
            for metric, value in other.task.score(other.table(variables, split), other.class_names):
                if np.ndim(value) == 0:
                    yield f"{name}/{metric}", float(value)

    return evaluate
