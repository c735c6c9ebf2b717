"""Metrics that `config.metrics` may name, of what a task with classes keeps of all examples of a split."""

from collections.abc import Mapping, Sequence

import numpy as np

from jtransfer.metrics import proper_scores, ranking, selective
from jtransfer.metrics.classification import softmax

Table = Mapping[str, np.ndarray]


def auroc(table: Table, class_names: Sequence[str] = ()) -> float:
    """Returns the area under the ROC curve; of more than two classes the mean of each class against the rest."""
    return ranking.of_classes(ranking.auroc, table["logits"], table["label"])


def auprc(table: Table, class_names: Sequence[str] = ()) -> float:
    """Returns the average precision; of more than two classes the mean of each class against the rest."""
    return ranking.of_classes(ranking.auprc, table["logits"], table["label"])


def brier(table: Table, class_names: Sequence[str] = ()) -> float:
    """Returns Brier's score."""
    return proper_scores.brier(softmax(table["logits"]), table["label"])


def bias_of_ece(table: Table, class_names: Sequence[str] = ()) -> float:
    """Returns the calibration error that a perfectly calibrated model would show by chance."""
    return proper_scores.bias_of_ece(softmax(table["logits"]))


def debiased(table: Table, class_names: Sequence[str] = ()) -> float:
    """Returns the root mean square calibration error without the bias of its estimate."""
    return proper_scores.debiased_calibration_error(softmax(table["logits"]), table["label"])


def aurc(table: Table, class_names: Sequence[str] = ()) -> float:
    """Returns the area under the curve of risk over coverage."""
    return risk_coverage(table).aurc


def risk_coverage(table: Table) -> selective.Curve:
    """Returns the curve of risk over coverage by the probability of the predicted class."""
    probs = softmax(table["logits"])
    return selective.curve(probs.max(1), probs.argmax(1) != table["label"])
