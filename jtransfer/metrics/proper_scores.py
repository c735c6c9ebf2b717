"""How good probabilities are: Brier's score, and how far confidences are from how often they come true."""

import numpy as np
from jaxtyping import Float, Int

from jtransfer.metrics.classification import calibration, row_parts

_DRAWS = 100


def brier(probs: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]) -> float:
    """Returns the mean over the examples of `Σ_c (p_c − 1[c is the label])²`, between 0 and 2 (Brier 1950).

    Of two classes it is twice the score of the second class alone.
    """
    squares = [_squares(probs[rows], labels[rows]) for rows in row_parts(probs)]
    return float(np.concatenate(squares).mean())


def _squares(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    wide = probs.astype(np.float64)
    own = np.take_along_axis(wide, labels[:, None], 1)[:, 0]
    return (wide * wide).sum(1) - 2 * own + 1


def bias_of_ece(probs: Float[np.ndarray, "N C"], bins: int = 15, seed: int = 0) -> float:
    """Returns the expected calibration error that a perfectly calibrated model with these confidences would show.

    An expected calibration error is never below 0, and so is above 0 by chance alone, the more so of few examples. Here
    it is computed of labels that are drawn by the confidences, and averaged over 100 draws (Bröcker and Smith 2007).

    Args:
      probs: of as many examples as the error is of.
      bins: of equal width, as in `metrics.calibration`.
      seed: of the draws.
    """
    confidence, rng = probs.max(1).astype(np.float64), np.random.default_rng(seed)
    two = np.stack([confidence, np.zeros_like(confidence)], 1)  # the class that is predicted is the first
    return float(np.mean([calibration(two, _drawn(confidence, rng), bins).ece for _ in range(_DRAWS)]))


def _drawn(confidence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (rng.random(len(confidence)) >= confidence).astype(np.int64)


def debiased_calibration_error(probs: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], bins: int = 15) -> float:
    """Returns the root mean square calibration error, without the bias of the plug-in estimate.

    It is `sqrt(max(0, Σ_m n_m/N · ((accuracy_m − confidence_m)² − accuracy_m (1 − accuracy_m) / (n_m − 1))))`; bins
    with one example count as 0 (Kumar, Liang and Ma 2019, arXiv:1909.10155).
    """
    found = calibration(probs, labels, bins)
    several = found.count > 1
    count, accuracy, confidence = (values[several] for values in (found.count, found.accuracy, found.confidence))
    squares = (accuracy - confidence) ** 2 - accuracy * (1 - accuracy) / (count - 1)
    return float(max((count * squares).sum() / max(len(labels), 1), 0.0) ** 0.5)
