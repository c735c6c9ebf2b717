"""Linear models of features, fitted by L-BFGS: logistic regression of one class or several, and ridge regression."""

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, sparse, special

STRENGTHS = (0.1, 1.0, 10.0)  # how little the weights are held down, scikit-learn's C
_ENOUGH = 50  # examples, to choose the strength on a tenth of them
_STEPS, _TRIES = 200, 60  # of L-BFGS, at the end and for each strength

Features = Any  # [N, d], dense or sparse
Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


class OutOfTime(Exception):
    """A fit took more time than it was given."""


class Linear(NamedTuple):
    """A linear model.

    Attributes:
      weights: float64 [d, K].
      bias: float64 [K].
      centre: float64 [d], taken from features before they are multiplied.
    """

    weights: np.ndarray
    bias: np.ndarray
    centre: np.ndarray

    def __call__(self, features: Features) -> np.ndarray:
        """Returns float64 [N, K]: logits, or numbers."""
        weights = self.weights.astype(features.dtype)  # of which the products are the cost
        return np.asarray(features @ weights, np.float64) + (self.bias - self.centre @ self.weights)


def fit(features: Features, targets: np.ndarray, kind: str, deadline: float = np.inf) -> Linear:
    """Returns the linear model of which the mean loss, and the weights' square norm / (2 C N), are least.

    C is 0.1, 1 or 10, the one with the least loss on every tenth example when fitted to the others; of fewer than 50
    examples it is 1.

    Args:
      features: [N, d], dense or of `scipy.sparse`.
      targets: [N, K]: shares of classes, whether an example has each class, or numbers.
      kind: "class", "classes" or "number", of the loss: softmax, sigmoid, or squares.
      deadline: `time.monotonic()` when it is to give up.

    Raises:
      OutOfTime: the deadline is past.
    """
    loss, n = _LOSSES[kind], len(targets)
    mean = np.zeros(features.shape[1]) if sparse.issparse(features) else np.asarray(features, np.float64).mean(0)
    start, chosen = np.zeros((features.shape[1] + 1, targets.shape[1])), 1.0
    if n >= _ENOUGH:
        held = np.arange(n) % 10 == 9
        losses = []
        for strength in STRENGTHS:
            start = _least(features[~held], targets[~held], mean, loss, strength, start, deadline, _TRIES)
            losses.append(loss(_linear(start, mean)(features[held]), targets[held])[0])
        chosen = STRENGTHS[int(np.argmin(losses))]
    return _linear(_least(features, targets, mean, loss, chosen, start, deadline, _STEPS), mean)


def _linear(found: np.ndarray, mean: np.ndarray) -> Linear:
    return Linear(found[:-1], found[-1], mean)


def _least(
    features: Features,
    targets: np.ndarray,
    mean: np.ndarray,
    loss: Loss,
    strength: float,
    start: np.ndarray,
    deadline: float,
    steps: int,
) -> np.ndarray:
    n, shape = len(targets), start.shape
    decay = 1 / (strength * n)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        if monotonic() > deadline:
            raise OutOfTime
        found = flat.reshape(shape)
        total, slope = loss(_linear(found, mean)(features), targets)
        sums = slope.sum(0)
        products = np.asarray(features.T @ slope.astype(features.dtype), np.float64)
        weights = products - np.outer(mean, sums) + decay * found[:-1]
        return total + decay / 2 * float(np.square(found[:-1]).sum()), np.concatenate([weights, sums[None]]).ravel()

    options = {"maxiter": steps, "maxfun": 2 * steps, "gtol": 1e-5, "ftol": 1e-8}
    return optimize.minimize(value, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)


def _softmax(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    logs = special.log_softmax(logits, 1)
    return -float((targets * logs).sum() / len(targets)), (np.exp(logs) - targets) / len(targets)


def _sigmoid(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    losses = np.logaddexp(0, logits) - targets * logits
    return float(losses.sum() / len(targets)), (special.expit(logits) - targets) / len(targets)


def _squares(numbers: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    gaps = numbers - targets
    return float(np.square(gaps).sum() / (2 * len(targets))), gaps / len(targets)


_LOSSES: dict[str, Loss] = {"class": _softmax, "classes": _sigmoid, "number": _squares}
