"""Evaluates how well a model's probabilities come true, and fits the temperature that they do so better with."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer import metrics
from jtransfer.evaluators import held_out
from jtransfer.evaluators.base import Context, Evaluate
from jtransfer.metrics import of_tables, proper_scores, temperature

NAME = "calibration"


def make(context: Context, split: str, *, fit: bool = True, on: str = "validation") -> Evaluate:
    """Makes an evaluator of calibration: Brier's score, the bias of the calibration error, and a temperature.

    It yields, of one class for each example, `brier`; `ece_bias`, the calibration error that a perfectly calibrated
    model with these confidences would show by chance; and `ece_debiased`, the root mean square error without its bias.
    The plug-in `ece` is the task's own metric.

    The `temperature` is the number by which logits are divided so that the negative log-likelihood of the split `on` is
    least. It is accepted if it lowers that of examples of `on` that it was not fitted on (five folds), and is 1
    otherwise. `loss_calibrated`, `ece_calibrated` and `brier_calibrated` are of the measured split at the temperature.
    That which is told with the run's result on the test split is what `predict` and `export` use.

    Args:
      context: What is known of the run.
      split: The split that is measured.
      fit: Whether a temperature is fitted.
      on: The split that it is fitted on.

    Raises:
      InputError: The task has no classes, or there is no split to fit on.
    """
    kind = held_out.check_kind(context, NAME, "class", "classes")
    if fit:
        held_out.check(context, NAME, split, on)

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        table = context.table(variables, split)
        if kind == "class":
            yield "brier", of_tables.brier(table)
            yield "ece_bias", of_tables.bias_of_ece(table)
            yield "ece_debiased", of_tables.debiased(table)
        if fit:
            found = fitted(context.table(variables, on), kind)
            yield "temperature", found.temperature
            yield from _calibrated(table, found.temperature, kind)

    return evaluate


def fitted(table: Mapping[str, Any], kind: str) -> temperature.Fitted:
    """Returns the temperature of a table of logits, whose labels are of the kind "class" or "classes"."""
    logits, labels = table["logits"], table["label"]
    if kind == "classes":
        return temperature.fit(*temperature.as_two_classes(logits, labels))
    return temperature.fit(logits, labels)


def _calibrated(table: Mapping[str, Any], t: float, kind: str) -> Iterator[tuple[str, float]]:
    logits, labels = table["logits"] / np.float32(t), table["label"]
    if kind == "classes":
        yield "loss_calibrated", dict(metrics.multi_label(logits, labels))["loss"]
        return
    probs = metrics.softmax(logits)
    yield "loss_calibrated", dict(metrics.classification(logits, labels))["loss"]
    yield "ece_calibrated", metrics.calibration(probs, labels).ece
    yield "brier_calibrated", proper_scores.brier(probs, labels)
