"""Classification metrics over a whole split, on the host, from all logits: nothing is averaged over batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class PerClass(NamedTuple):
    """One number for each class; 0 where the definition divides by 0."""

    precision: Float[np.ndarray, " C"]
    recall: Float[np.ndarray, " C"]
    f1: Float[np.ndarray, " C"]
    support: Int[np.ndarray, " C"]


class Calibration(NamedTuple):
    """Examples grouped by the probability of the predicted class, in bins `(m/M, (m+1)/M]` of equal width."""

    confidence: Float[np.ndarray, " M"]
    accuracy: Float[np.ndarray, " M"]
    count: Int[np.ndarray, " M"]

    @property
    def ece(self) -> float:
        """The expected calibration error: `Σ_m count[m]/N · |accuracy[m] - confidence[m]|` (Guo et al. 2017, eq. 3)."""
        return float((self.count * np.abs(self.accuracy - self.confidence)).sum() / max(self.count.sum(), 1))


def classification(logits: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]) -> Iterator[tuple[str, float]]:
    """Yields `loss` (mean negative log-likelihood, nats), `accuracy`, `top5` (C > 5), `macro_f1` and `ece` (15 bins).

    Args:
      logits: each example of the split once; log-probabilities serve as well. Among equal ones the first class wins.
      labels: in [0, C).

    `macro_f1` is the mean F1 of the classes that occur, as labels or as predictions: scikit-learn's default.
    """
    num_classes = logits.shape[1]
    yield "loss", float(-np.take_along_axis(_log_softmax(logits), labels[:, None], axis=1).mean())
    rank = _rank(logits, labels)
    yield "accuracy", float((rank == 0).mean())
    if num_classes > 5:
        yield "top5", float((rank < 5).mean())
    predicted = logits.argmax(1)
    occurs = np.union1d(predicted, labels)
    yield "macro_f1", float(per_class(predicted, labels, num_classes).f1[occurs].mean())
    yield "ece", calibration(softmax(logits), labels).ece


def confusion(predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"], num_classes: int) -> np.ndarray:
    """Int64 `[C, C]`: how many examples of the class of the row were predicted as the class of the column."""
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"], num_classes: int) -> PerClass:
    """Precision, recall, F1 and support of each class."""
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    labelled = np.bincount(labels, minlength=num_classes)
    chosen = np.bincount(predicted, minlength=num_classes)
    return PerClass(
        precision=hits / np.maximum(chosen, 1),
        recall=hits / np.maximum(labelled, 1),
        f1=2 * hits / np.maximum(labelled + chosen, 1),
        support=labelled,
    )


def calibration(probs: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], bins: int = 15) -> Calibration:
    """Mean confidence and accuracy in each of `bins` bins of confidence; 0 in an empty one."""
    confidence = probs.max(1).astype(np.float64)
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence)
    count = np.bincount(bin_of, minlength=bins)

    def mean(values):
        return np.bincount(bin_of, values, minlength=bins) / np.maximum(count, 1)

    return Calibration(mean(confidence), mean(probs.argmax(1) == labels), count)


def softmax(logits: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """Probabilities, float32."""
    return np.exp(_log_softmax(logits)).astype(np.float32)


def _log_softmax(logits):
    logits = logits.astype(np.float64)
    logits = logits - logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _rank(logits, labels):
    """How many classes come before the label's; a NaN comes before everything."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    before = np.arange(logits.shape[1]) < labels[:, None]
    return (~(logits <= own) | ((logits == own) & before)).sum(1)
