"""How good a model is for a domain of which no label is known: scores of its predictions, and risks of a labelled
domain that are weighted to be those of the other one. All are computed on the host, in float64."""

from typing import Any

import numpy as np

from jtransfer.core.errors import InputError

_ROWS = 1024  # of a matrix of similarities that are computed at a time
_FARTHEST = 30.0  # the logit of a domain classifier beyond which weights do not grow


def mean_entropy(probs: np.ndarray) -> float:
    """Returns the mean entropy of predictions [N, C], in nats; less is better (Morerio et al. 2018,
    arXiv:1711.10288)."""
    return float(_entropies(np.asarray(probs, np.float64)).mean())


def infomax(probs: np.ndarray) -> float:
    """Returns the entropy of the mean prediction less the mean entropy, in nats; more is better: predictions [N, C] are
    sure, and not all of one class (Musgrave et al. 2022, arXiv:2208.07360)."""
    probs = np.asarray(probs, np.float64)
    return float(_entropies(probs.mean(0, keepdims=True))[0] - _entropies(probs).mean())


def nuclear_norm(probs: np.ndarray) -> float:
    """Returns the sum of the singular values of predictions [N, C], by N; more is better (batch nuclear-norm
    maximization, Cui et al. 2020, arXiv:2003.12237). Values of splits of different sizes can't be compared."""
    probs = np.asarray(probs, np.float64)
    return float(np.linalg.svd(probs, compute_uv=False).sum() / len(probs))


def soft_neighborhood_density(vectors: np.ndarray, *, temperature: float = 0.05) -> float:
    """Returns the mean entropy, in nats, of how similar each example is to all others; more is better (SND, Saito et
    al. 2021, arXiv:2108.10860). It takes N² time, and memory for a block of rows.

    Args:
      vectors: predictions, or features, [N, d].
      temperature: similarities are softmax(cosine / temperature), without that of an example and itself.
    """
    x = np.asarray(vectors, np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    total = 0.0
    for start in range(0, len(x), _ROWS):
        scores = x[start : start + _ROWS] @ x.T / temperature
        scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
        weights = np.exp(scores - scores.max(1, keepdims=True))
        total += _entropies(weights / weights.sum(1, keepdims=True)).sum()
    return float(total / len(x))


def weighted_risk(losses: np.ndarray, weights: np.ndarray) -> float:
    """Returns the mean of weight · loss of a labelled domain's examples [N]: importance weighted validation (Sugiyama
    et al. 2007), the risk in the other domain if the weights are the ratio of the domains' densities."""
    return float(np.mean(np.asarray(weights, np.float64) * np.asarray(losses, np.float64)))


def deep_embedded_validation(losses: np.ndarray, weights: np.ndarray) -> float:
    """Returns the importance weighted risk with a control variate, mean L + η · mean w − η with L = w · loss and
    η = −cov(L, w) / var(w): deep embedded validation (You et al. 2019, ICML). Arguments are as of `weighted_risk`."""
    w = np.asarray(weights, np.float64)
    weighted = w * np.asarray(losses, np.float64)
    variance = w.var()
    eta = -((weighted - weighted.mean()) * (w - w.mean())).mean() / variance if variance > 0 else 0.0
    return float(weighted.mean() + eta * w.mean() - eta)


def density_ratios(source: np.ndarray, target: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Returns how much more likely features are in the target than in the source, float64 [N], by a logistic regression
    that tells both apart: N_source / N_target · p(target | x) / p(source | x).

    Args:
      source, target: features [N, d] that the classifier is fitted to, after each column is standardised.
      of: features [N, d] to weigh.

    Raises:
      InputError: scikit-learn is not installed.
    """
    mean, scale, classifier = _classifier(source, target)
    logits = classifier.decision_function((np.asarray(of, np.float64) - mean) / scale)
    return len(source) / len(target) * np.exp(np.clip(logits, -_FARTHEST, _FARTHEST))


def a_distance(source: np.ndarray, target: np.ndarray, *, seed: int = 0) -> float:
    """Returns the proxy A-distance of two sets of features, 2 · (1 − 2 · error), at least 0: 0 where a linear
    classifier can't tell the domains apart, 2 where it never errs (Ben-David et al. 2006, NIPS).

    The error is the mean of both domains' errors on the halves of the features that a logistic regression, with the
    other halves standardised, was not fitted to. It depends on the number of examples and on the classifier.

    Args:
      source, target: features [N, d] of at least four examples each.
      seed: of the halves.

    Raises:
      InputError: scikit-learn is not installed.
    """
    rng = np.random.default_rng(seed)
    (fit_s, held_s), (fit_t, held_t) = (_halves(np.asarray(x, np.float64), rng) for x in (source, target))
    mean, scale, classifier = _classifier(fit_s, fit_t)
    wrong_s = (classifier.decision_function((held_s - mean) / scale) > 0).mean()
    wrong_t = (classifier.decision_function((held_t - mean) / scale) <= 0).mean()
    return float(max(0.0, 2 * (1 - (wrong_s + wrong_t))))


def logistic_regression() -> Any:
    """Returns scikit-learn's class of the classifiers of domains.

    Raises:
      InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise InputError("to tell domains apart, scikit-learn is needed: pip install scikit-learn") from None
    return LogisticRegression


def _classifier(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
    x = np.concatenate([source, target]).astype(np.float64)
    is_target = np.arange(len(x)) >= len(source)
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1)
    return mean, scale, logistic_regression()(max_iter=10_000).fit((x - mean) / scale, is_target)


def _halves(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = rng.permutation(len(x))
    return x[order[: len(x) // 2]], x[order[len(x) // 2 :]]


def _entropies(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
