"""Few-shot episodes: a classifier is fitted to k examples of each of some classes, many times over, as one program."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jtransfer.core.errors import InputError
from jtransfer.metrics import intervals
from jtransfer.probes import checks
from jtransfer.probes.logistic import fit

HOW = ("centroid", "ridge", "logistic")
AT_ONCE = 20  # episodes


class Episodes(NamedTuple):
    """What episodes gave.

    Attributes:
      accuracy: The mean over the episodes.
      interval: Its bootstrap interval over the episodes, of 95 %.
      each: float64 [count], the accuracy of each episode.
    """

    accuracy: float
    interval: tuple[float, float]
    each: np.ndarray


def episodes(
    features: ArrayLike,
    labels: ArrayLike,
    ways: int | None = 5,
    shots: int = 5,
    *,
    queries: int = 15,
    count: int = 600,
    how: str = "centroid",
    l2: float = 1.0,
    seed: int = 0,
) -> Episodes:
    """Draws few-shot episodes, and returns how well their classifiers do.

    An episode draws classes, and of each `shots` examples to fit and `queries` other ones to be asked about. "centroid"
    tells the class whose mean is nearest, as prototypical networks do; "ridge" is a regression with targets of 1 and -1
    and the penalty `l2` on the squared norm of the weights, none on the bias; "logistic" is `probes.logistic`.

    Args:
      features: float [N, D].
      labels: int [N].
      ways: The number of classes of an episode; None is all.
      shots: The number of examples of each class that a classifier is fitted to.
      queries: The number of examples of each class that it is asked about.
      count: The number of episodes.
      how: "centroid", "ridge" or "logistic".
      l2: The penalty, positive.
      seed: Of what is drawn.

    Raises:
      InputError: A class has fewer than `shots + queries` examples, there are fewer classes than `ways`, the features
        are not finite, or an argument is out of its range.
    """
    x, y, _ = checks.labelled(features, labels)
    classes, sizes = np.unique(y, return_counts=True)
    ways = len(classes) if ways is None else ways
    if how not in HOW:
        raise InputError(f"how={how!r}: give one of {', '.join(HOW)}")
    if not 2 <= ways <= len(classes):
        raise InputError(f"ways={ways}: give from 2 to {len(classes)}, the number of classes")
    if min(shots, queries, count) < 1 or not (np.isfinite(l2) and l2 > 0):
        raise InputError("shots, queries, count and l2: give positive numbers")
    if (least := int(sizes.argmin())) >= 0 and sizes[least] < shots + queries:
        need = f"{shots} shots and {queries} queries need {shots + queries}"
        raise InputError(f"class {classes[least]} has {sizes[least]} examples; {need}: ask for fewer")
    drawn = draw(y, classes, ways, shots + queries, count, seed)
    each = np.asarray(_run(x, jnp.asarray(drawn), l2, shots, how), np.float64)
    return Episodes(float(each.mean()), intervals.bootstrap(lambda rows: float(each[rows].mean()), count), each)


def draw(labels: np.ndarray, classes: np.ndarray, ways: int, size: int, count: int, seed: int) -> np.ndarray:
    """The numbers of examples, int32 [count, ways, size]."""
    rng, members = np.random.default_rng(seed), [np.flatnonzero(labels == one) for one in classes]
    chosen = [rng.permutation(len(classes))[:ways] for _ in range(count)]
    rows = [[rng.choice(members[one], size, replace=False) for one in episode] for episode in chosen]
    return np.array(rows, np.int32)


@functools.partial(jax.jit, static_argnames=("shots", "how"))
def _run(x: jax.Array, drawn: jax.Array, l2: ArrayLike, shots: int, how: str) -> jax.Array:
    x = jnp.asarray(x)
    ways, asked = drawn.shape[1], drawn.shape[2] - shots
    truth = jnp.repeat(jnp.arange(ways), asked)

    def one(rows: jax.Array) -> jax.Array:
        known, new = (x[part.ravel()] for part in (rows[:, :shots], rows[:, shots:]))
        return (_scores(how, known, new, ways, l2).argmax(1) == truth).mean()

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(one, drawn, batch_size=AT_ONCE)


def _scores(how: str, known: jax.Array, new: jax.Array, ways: int, l2: ArrayLike) -> jax.Array:
    """[queries, ways], of examples that are known class after class."""
    if how == "centroid":
        means = known.reshape(ways, -1, known.shape[1]).mean(1)
        return new @ means.T - (means**2).sum(1) / 2
    labels = jnp.repeat(jnp.arange(ways), len(known) // ways)
    centre = known.mean(0)
    known, new = _in_span(known - centre, new - centre)
    if how == "ridge":
        targets = 2 * jax.nn.one_hot(labels, ways, dtype=known.dtype) - 1
        square = known.T @ known + l2 * jnp.eye(known.shape[1], dtype=known.dtype)
        kernel = jax.scipy.linalg.solve(square, known.T @ (targets - targets.mean(0)), assume_a="pos")
        return new @ kernel + targets.mean(0)
    share = jnp.full((1, len(known)), 1 / len(known), known.dtype)
    kernel, bias = fit(known, labels, jnp.full(1, l2, known.dtype), share, tol=1e-4, count=ways, max_iter=100)[:2]
    return new @ kernel[0, 0].T + bias[0, 0]


def _in_span(known: jax.Array, new: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The examples in coordinates of the span of those that are known, in which all products stay as they are."""
    if known.shape[1] <= len(known):
        return known, new
    basis = jnp.linalg.qr(known.T)[0]
    return known @ basis, new @ basis
