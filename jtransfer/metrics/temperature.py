"""The temperature of a model's logits (Guo et al. 2017, arXiv:1706.04599), fitted on held-out examples."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

FOLDS = 5
_WIDEST = 3.0  # of log T; what wants more is not told by the examples


class Fitted(NamedTuple):
    """A temperature, and what it does to examples that it was not fitted on.

    Attributes:
      temperature: by which logits are divided; 1 where it was not accepted.
      before, after: the mean negative log-likelihood of all examples, without a temperature and with that which was
        fitted on the other folds.
      accepted: whether `after` is below `before`.
    """

    temperature: float
    before: float
    after: float
    accepted: bool


def fit(
    logits: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], folds: Int[np.ndarray, " N"] | None = None
) -> Fitted:
    """Returns the temperature that the negative log-likelihood is least at, if it lowers that of held-out examples.

    T is `exp(t)`, so that it is positive, and t between −3 and 3. A temperature at one of these ends is not told by the
    examples, as where all of them are predicted correctly, and is not accepted.

    Args:
      logits: of examples that were not trained on.
      labels: in [0, C).
      folds: of each example, in [0, 5); by default the examples take turns.
    """
    folds = np.arange(len(labels)) % FOLDS if folds is None else folds
    wide = logits.astype(np.float64)
    before = _losses(wide, labels, 0.0)
    whole, parts = _least(wide, labels), [_least(wide[folds != k], labels[folds != k]) for k in range(FOLDS)]
    if whole is None or any(part is None for part in parts) or not np.isfinite(before).all():
        return Fitted(1.0, float(before.mean()), float(before.mean()), False)
    held = [_losses(wide[folds == k], labels[folds == k], part) for k, part in enumerate(parts) if part is not None]
    after = float(np.concatenate(held).mean())
    accepted = after < float(before.mean())
    return Fitted(float(np.exp(whole)) if accepted else 1.0, float(before.mean()), after, accepted)


def as_two_classes(logits: Float[np.ndarray, "N C"], labels: Float[np.ndarray, "N C"]) -> tuple[np.ndarray, ...]:
    """Returns independent classes as examples of two classes each: logits [N·C, 2], labels [N·C] and their folds."""
    flat = logits.reshape(-1)
    pairs = np.stack([np.zeros_like(flat), flat], 1)
    return (
        pairs,
        (labels > 0.5).reshape(-1).astype(np.int64),
        np.repeat(np.arange(len(logits)) % FOLDS, labels.shape[1]),
    )


def _least(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The t at which the mean loss, which has one minimum, is least; None at an end."""
    if not len(labels) or not np.isfinite(logits).all():
        return None
    low, high = (_slope(t, logits, labels) for t in (-_WIDEST, _WIDEST))
    if not low < 0 < high:
        return None
    from scipy import optimize

    return float(optimize.brentq(_slope, -_WIDEST, _WIDEST, args=(logits, labels), xtol=1e-12, rtol=1e-12))  # pyright: ignore


def _slope(t: float, logits: np.ndarray, labels: np.ndarray) -> float:
    """The derivative of the mean loss with respect to t."""
    scaled = logits * np.exp(-t)
    scaled = scaled - scaled.max(1, keepdims=True)
    probs = np.exp(scaled)
    probs /= probs.sum(1, keepdims=True)
    own = np.take_along_axis(scaled, labels[:, None], 1)[:, 0]
    return float((own - (probs * scaled).sum(1)).mean())


def _losses(logits: np.ndarray, labels: np.ndarray, t: float) -> np.ndarray:
    scaled = logits * np.exp(-t)
    scaled = scaled - scaled.max(1, keepdims=True)
    return np.log(np.exp(scaled).sum(1)) - np.take_along_axis(scaled, labels[:, None], 1)[:, 0]
