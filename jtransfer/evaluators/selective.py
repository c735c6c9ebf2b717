"""Evaluates a model that may leave out the examples that it is least sure of."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer import metrics
from jtransfer.core.errors import InputError
from jtransfer.evaluators import held_out
from jtransfer.evaluators.base import Context, Evaluate
from jtransfer.metrics import of_tables

NAME = "selective"


def make(context: Context, split: str, *, risk: float = 0.05, on: str = "validation") -> Evaluate:
    """Makes an evaluator of selective prediction by the probability of the predicted class.

    It yields `aurc`, the area under the curve of risk over coverage, and `eaurc`, how much that is above the best
    order's. On the split `on` the least confidence is chosen from which on at most `risk` of the predictions are wrong:
    `selective_threshold`, which is 1 where no confidence is enough. `selective_coverage` is the share of the measured
    split that has it, and `selective_risk` is the share of these that is wrong.

    Args:
      context: What is known of the run.
      split: The split that is measured.
      risk: The share of wrong predictions that is wanted, at most.
      on: The split that the confidence is chosen on.

    Raises:
      InputError: The task is not of one class for each example, `risk` is no share, or there is no split to choose on.
    """
    held_out.check_kind(context, NAME, "class")
    held_out.check(context, NAME, split, on)
    if not 0 <= risk < 1:
        raise InputError(f"evals: risk={risk} of {NAME!r} must be at least 0 and below 1")

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        table = context.table(variables, split)
        curve = of_tables.risk_coverage(table)
        yield "aurc", curve.aurc
        yield "eaurc", curve.excess
        _, threshold = of_tables.risk_coverage(context.table(variables, on)).at_risk(risk)
        probs = metrics.softmax(table["logits"])
        sure = probs.max(1) >= threshold
        yield "selective_threshold", min(threshold, 1.0)
        yield "selective_coverage", float(sure.mean())
        if sure.any():
            wrong = probs.argmax(1) != table["label"]
            yield "selective_risk", float(wrong[sure].mean())
        else:
            yield "selective_risk", math.nan

    return evaluate
