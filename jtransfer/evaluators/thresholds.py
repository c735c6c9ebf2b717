"""Evaluates a model whose classes are told by thresholds that are chosen on another split."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import metrics
from jtransfer.core.errors import InputError, unknown
from jtransfer.evaluators import held_out
from jtransfer.evaluators.base import Context, Evaluate
from jtransfer.metrics import thresholds

NAME = "thresholds"


def make(
    context: Context, split: str, *, by: str = "f1", costs: Sequence[float] = (1.0, 1.0), on: str = "validation"
) -> Evaluate:
    """Makes an evaluator of the thresholds of each class, or, of two classes, of that of the second.

    It yields each class's threshold, `threshold/<class>`, and with all of them `threshold_macro_f1`,
    `threshold_micro_f1` and, where `by` is "cost", `threshold_cost`, the mean cost of an example. A class that all
    examples of `on` have, or none, keeps 1/2; `thresholds_kept` is how many these are.

    Args:
      context: What is known of the run.
      split: The split that is measured.
      by: What is greatest at the threshold: "f1"; "youden", sensitivity + specificity − 1; or "cost", what is least.
      costs: Of a wrong positive and of a wrong negative.
      on: The split that the thresholds are chosen on.

    Raises:
      InputError: There are neither two classes nor several for each example, no such criterion or cost, or no split to
        choose on.
    """
    kind = held_out.check_kind(context, NAME, "class", "classes")
    names = list(context.class_names)
    if kind == "class" and len(names) != 2:
        raise InputError(f"evals: {NAME!r} needs two classes, or several for each example; there are {len(names)}")
    if by not in thresholds.CRITERIA:
        raise unknown("criterion of 'thresholds':", by, thresholds.CRITERIA)
    if len(costs) != 2 or min(costs) < 0 or max(costs) <= 0:
        raise InputError(f"evals: costs={tuple(costs)} of {NAME!r} must be two numbers, of which none is below 0")
    held_out.check(context, NAME, split, on)

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        held, measured = (_probabilities(context.table(variables, one), kind) for one in (on, split))
        found = [thresholds.choose(p, y, by, costs) for p, y in zip(held[0].T, held[1].T, strict=True)]
        chosen = np.array([thresholds.USUAL if one is None else one for one in found])
        for name, value in zip(names[-len(chosen) :], chosen.tolist(), strict=True):
            yield f"threshold/{name}", value
        yield "thresholds_kept", sum(one is None for one in found)
        predicted, true = measured[0] > chosen, measured[1]
        scores = dict(metrics.multi_label(np.where(predicted, 1.0, -1.0), true.astype(np.float64)))
        yield "threshold_macro_f1", scores["macro_f1"]
        yield "threshold_micro_f1", scores["micro_f1"]
        if by == "cost":
            wrong = costs[0] * (predicted & ~true).sum() + costs[1] * (~predicted & true).sum()
            yield "threshold_cost", float(wrong / len(true))

    return evaluate


def _probabilities(table: Mapping[str, Any], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities that examples are positive, and whether they are, both [N, C]."""
    logits, labels = table["logits"].astype(np.float64), table["label"]
    if kind == "class":
        logits, labels = logits[:, 1:] - logits[:, :1], labels[:, None]
    return 1 / (1 + np.exp(-np.clip(logits, -700, 700))), labels > 0.5
