"""Classification metrics over a whole split, on the host, from all logits: nothing is averaged over batches."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_BLOCK = 1 << 20  # numbers that are computed at once


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
    return of_rows(by_row(logits, labels), labels)


def by_row(logits: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]) -> dict[str, np.ndarray]:
    """Returns all that the metrics need of each example, as arrays [N]: its `nll`; the `rank` of its label; the class
    that is `predicted`, and the `confidence` of that; and the number of `classes`."""
    parts = [(logits[rows], labels[rows]) for rows in row_parts(logits)]
    return {
        "nll": -np.concatenate([_likelihood(*part) for part in parts])[:, 0],
        "rank": np.concatenate([_rank(*part) for part in parts]),
        "predicted": logits.argmax(1),
        "confidence": np.concatenate([softmax(part).max(1) for part, _ in parts]),
        "classes": np.full(len(labels), logits.shape[1]),
    }


def of_rows(rows: Mapping[str, np.ndarray], labels: Int[np.ndarray, " N"]) -> Iterator[tuple[str, float]]:
    """Yields the metrics of `classification` from the arrays of `by_row`, of some of the examples or all."""
    predicted, rank, number = rows["predicted"], rows["rank"], int(rows["classes"][0])
    yield "loss", float(rows["nll"].mean())
    yield "accuracy", float((rank == 0).mean())
    if number > 5:
        yield "top5", float((rank < 5).mean())
    occurs = np.union1d(predicted, labels)
    yield "macro_f1", float(per_class(predicted, labels, number).f1[occurs].mean())
    yield "ece", _calibration(rows["confidence"], predicted == labels).ece


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


def pairs(
    predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"], num_classes: int
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """Label, prediction and count of each pair of a label and a prediction that occurs, in the order of `confusion`."""
    keys, counts = np.unique(labels.astype(np.int64) * num_classes + predicted, return_counts=True)
    return keys // num_classes, keys % num_classes, counts


def calibration(probs: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], bins: int = 15) -> Calibration:
    """Mean confidence and accuracy in each of `bins` bins of confidence; 0 in an empty one."""
    return _calibration(probs.max(1), probs.argmax(1) == labels, bins)


def _calibration(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> Calibration:
    confidence = confidence.astype(np.float64)
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence)
    count = np.bincount(bin_of, minlength=bins)

    def mean(values):
        return np.bincount(bin_of, values, minlength=bins) / np.maximum(count, 1)

    return Calibration(mean(confidence), mean(right), count)


def softmax(logits: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """Probabilities, float32."""
    probs = np.empty(logits.shape, np.float32)
    for rows in row_parts(logits):
        probs[rows] = np.exp(_log_softmax(logits[rows]))
    return probs


def row_parts(logits: Float[np.ndarray, "N C"]) -> list[slice]:
    """Returns slices of rows, of a few megabytes each, so that what is computed of many classes stays small."""
    step = max(1, _BLOCK // max(1, logits.shape[1]))
    return [slice(start, start + step) for start in range(0, max(1, len(logits)), step)]


def _likelihood(logits, labels):
    """The logarithm of the probability of the label, for each example."""
    return np.take_along_axis(_log_softmax(logits), labels[:, None], axis=1)


def _log_softmax(logits):
    logits = logits.astype(np.float64)
    logits = logits - logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _rank(logits, labels):
    """How many classes come before the label's; a NaN comes before everything."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    before = np.arange(logits.shape[1]) < labels[:, None]
    return (~(logits <= own) | ((logits == own) & before)).sum(1)
