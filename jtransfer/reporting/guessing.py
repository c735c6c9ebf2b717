"""Of a report, what would be reached without a model: by the training labels alone, and by chance."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.objectives import TARGET
from jtransfer.runs import fingerprint
from jtransfer.runs.open import StoredRun


class Guess(NamedTuple):
    """Predictions that look at no example.

    Attributes:
      name: of the guess.
      values: metric → value on the test split.
      own: whether it knows the labels of the test split itself, for those of the training split are not kept.
    """

    name: str
    values: dict[str, float]
    own: bool = False


Rows = list[Guess]


def describe(run: StoredRun, predictions: Mapping[str, np.ndarray]) -> Rows:
    """Returns the metrics on the test split of predictions that look at no example.

    "majority class" predicts each class as often as the training split has it, so that it always chooses the most
    frequent one; of numbers it is their mean. "chance" takes all classes for equally likely; of its metrics only those
    that are known without a draw are there.

    Args:
      run: The run.
      predictions: The arrays of `predictions.npz`; none where there was no evaluation yet.
    """
    if len(predictions.get("label", ())) == 0:
        return []
    made = {"class": _of_classes, "classes": _of_several, "number": _of_numbers, "tags": _of_tags}
    make = made.get("".join(run.task.label_kinds))
    try:
        return make(run, predictions, _train(run)) if make else _of_pairs(predictions)
    except (LookupError, TypeError, ValueError):  # a task of one's own keeps other predictions
        return []


def _train(run: StoredRun) -> Mapping[str, Any]:
    """What is kept of the training labels."""
    try:
        return fingerprint.kept(run.folder).get(TARGET, {}).get("splits", {}).get("train", {})
    except InputError:
        return {}


def _of_classes(run: StoredRun, predictions: Mapping[str, np.ndarray], train: Mapping[str, Any]) -> Rows:
    label, number = predictions["label"], predictions["probs"].shape[1]
    counts = np.asarray(train.get("classes", ()), np.float64)
    own = counts.shape != (number,) or not counts.sum()
    counts = np.bincount(label, minlength=number) if own else counts
    share = (counts + 1) / (counts + 1).sum()
    table = {"logits": np.tile(np.log(share).astype(np.float32), (len(label), 1)), "label": label}
    chance = {"accuracy": 1 / number, "top5": min(5, number) / number, "loss": math.log(number)}
    return [Guess("majority class", dict(run.task.score(table, run.class_names)), own), Guess("chance", chance)]


def _of_several(run: StoredRun, predictions: Mapping[str, np.ndarray], train: Mapping[str, Any]) -> Rows:
    label = predictions["label"]
    counts, size = np.asarray(train.get("classes", ()), np.float64), train.get("examples", 0)
    own = counts.shape != label.shape[1:] or not size
    counts, size = ((label > 0.5).sum(0), len(label)) if own else (counts, size)
    share = (counts + 1) / (size + 2)
    table = {"logits": np.tile(np.log(share / (1 - share)).astype(np.float32), (len(label), 1)), "label": label}
    found = dict(run.task.score(table, run.class_names))
    return [Guess("each class as often as it is", found, own), Guess("chance", {"loss": math.log(2)})]


def _of_numbers(run: StoredRun, predictions: Mapping[str, np.ndarray], train: Mapping[str, Any]) -> Rows:
    label, mean = predictions["label"], train.get("mean")
    own = not isinstance(mean, float)
    table = {"logits": np.full((len(label), 1), label.mean() if own else mean, np.float32), "label": label}
    return [Guess("the mean", dict(run.task.score(table, run.class_names)), own)]


def _of_tags(run: StoredRun, predictions: Mapping[str, np.ndarray], train: Mapping[str, Any]) -> Rows:
    label = predictions["label"]
    real, number = label >= 0, max(len(run.class_names), int(label.max()) + 1)
    counts = np.bincount(label[real], minlength=number)
    costs = np.where(real, -np.log((counts + 1) / (counts + 1).sum())[np.maximum(label, 0)], 0)
    table = {"loss": costs.sum(1), "tokens": real.sum(1), "label": label}
    table["predicted"] = np.full_like(label, counts.argmax())
    found = dict(run.task.score(table, run.class_names))
    return [Guess("majority class", found, True), Guess("chance", {"accuracy": 1 / number, "loss": math.log(number)})]


def _of_pairs(predictions: Mapping[str, np.ndarray]) -> Rows:
    count = len(predictions["embeddings"])
    return [Guess("chance", {"retrieval": 1 / count})]
