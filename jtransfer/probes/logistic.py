"""Multinomial logistic regression with L2, for whole grids of strengths and subsets in one compiled program.

The strengths are a path, from the strongest down: each begins where the last two lead, with the curvature that they
have seen. At each, all subsets are minimised at once by L-BFGS, whose first guess of the inverse Hessian is that of a
class whose examples are weighted as the mean class weights them. An iteration costs two products of the features with
the parameters of all subsets, and the search along its direction none.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jtransfer.core.errors import InputError
from jtransfer.probes import checks

MEMORY = 10  # pairs of L-BFGS
LINE = 3  # Newton steps along a line
ROUND = 20  # iterations after which the first guess is made anew
PATIENCE = 30  # iterations without a lower objective or bound, after which rounding allows no better
FAR = -1e9  # the logit of a class that a subset lacks


class Logistic(NamedTuple):
    """Linear classifiers, for S subsets and L strengths.

    Attributes:
      kernel: float [S, L, D, C].
      bias: float [S, L, C].
      objective: float [S, L], the mean loss of the subset plus `l2 / 2` times the kernel's squared norm.
      bound: float [S, L]: by how much at most the objective is above its minimum. It is |gradient|² / (2 l2), as the
        objective is strongly convex; to which the part of the bias, which has no penalty, is added by its curvature.
      iterations: int32 [S, L].
    """

    kernel: np.ndarray
    bias: np.ndarray
    objective: np.ndarray
    bound: np.ndarray
    iterations: np.ndarray


def logistic(
    features: ArrayLike,
    labels: ArrayLike,
    l2: Sequence[float] | ArrayLike,
    weights: ArrayLike | None = None,
    *,
    num_classes: int | None = None,
    tol: float = 1e-4,
    max_iter: int = 1000,
) -> Logistic:
    """Fits multinomial logistic regressions.

    Each minimises the weighted mean of the cross-entropy plus `l2 / 2` times the squared norm of the kernel; the bias
    has no penalty. It is scikit-learn's `LogisticRegression(C=1 / (l2 * n))` of n examples. A class that a subset lacks
    gets the least probability that a float has.

    Args:
      features: float [N, D]; what is computed has their dtype.
      labels: int [N], the classes in [0, num_classes).
      l2: The strengths of the penalty, positive, in any order.
      weights: float [S, N], the weight of each example in each subset, such as 0 or 1; None is one subset, all.
      num_classes: The number of classes; None is the greatest label and one.
      tol: It stops where `bound <= tol * objective`.
      max_iter: The most iterations for each strength.

    Returns:
      The classifiers, in the order of `l2`.

    Raises:
      InputError: The features are not finite, a subset has one class only, or an argument is out of its range.
    """
    x, y, count = checks.labelled(features, labels, num_classes)
    strengths = np.atleast_1d(np.asarray(l2, np.float64))
    if strengths.ndim != 1 or not len(strengths) or not (np.isfinite(strengths) & (strengths > 0)).all():
        raise InputError(f"l2={l2}: give positive numbers")
    shares = _shares(weights, y, count)
    order = np.argsort(-strengths, kind="stable")
    centre = x.mean(0, dtype=np.float64).astype(x.dtype)
    with jax.default_matmul_precision("highest"):
        found = fit(x - centre, y, strengths[order].astype(x.dtype), shares.astype(x.dtype), tol, count, max_iter)
    kernel, bias, *rest = (np.moveaxis(np.asarray(part), 0, 1)[:, np.argsort(order)] for part in found)
    absent = (shares @ np.eye(count)[y] == 0)[:, None]
    bias = np.where(absent, np.log(np.finfo(x.dtype).tiny), bias - kernel @ centre)
    return Logistic(np.moveaxis(kernel, 2, 3), bias, *rest)


def _shares(weights: ArrayLike | None, labels: np.ndarray, count: int) -> np.ndarray:
    """float64 [S, N], of which each row has the sum 1."""
    given = np.ones((1, len(labels))) if weights is None else np.asarray(weights, np.float64)
    if given.ndim != 2 or given.shape[1] != len(labels) or not len(given):
        raise InputError(f"weights are {list(given.shape)}; give [subsets, {len(labels)}], one for each example")
    if not np.isfinite(given).all() or (given < 0).any():
        raise InputError("weights: give numbers that are finite and not negative")
    classes = (given @ np.eye(count)[labels] > 0).sum(1)
    if (classes < 2).any():
        raise InputError(f"subset {int(classes.argmin())} has examples of one class at most; there is nothing to fit")
    return given / given.sum(1, keepdims=True)


class _State(NamedTuple):
    """One subset: parameters [C, D+1], the bias last; its logits [C, N]; pairs of L-BFGS [MEMORY, C, D+1]."""

    w: jax.Array
    logits: jax.Array
    gradient: jax.Array  # of the data's part
    steps: jax.Array
    changes: jax.Array
    objective: jax.Array
    bound: jax.Array
    least: jax.Array  # the least objective so far, and the least bound
    waited: jax.Array
    iterations: jax.Array


@functools.partial(jax.jit, static_argnames=("count", "max_iter"))
def fit(
    x: jax.Array, y: jax.Array, l2: jax.Array, shares: jax.Array, tol: ArrayLike, count: int, max_iter: int
) -> tuple[jax.Array, ...]:
    z = jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1)
    truth = jax.nn.one_hot(y, count, dtype=x.dtype, axis=0)
    far = jnp.where(shares @ truth.T == 0, FAR, 0).astype(x.dtype)
    w = jnp.zeros((len(shares), count, z.shape[1]), x.dtype)
    pairs = jnp.zeros((len(shares), MEMORY, *w.shape[1:]), x.dtype)

    def at_strength(carry: tuple, strength: jax.Array) -> tuple[tuple, tuple]:
        before, last, steps, changes = carry

        def over_subsets(function: Callable, *args: Any) -> Any:
            def of_subset(share: jax.Array, absent: jax.Array, *args: Any) -> Any:
                return function(_Problem(z, truth, share, absent, strength), *args)

            return jax.vmap(of_subset)(shares, far, *args)

        def goes_on(state: _State) -> jax.Array:
            unsure = ~(state.bound <= tol * state.objective)
            return unsure & (state.iterations < max_iter) & (state.waited < PATIENCE)

        def round_of(state: _State) -> _State:
            weights = over_subsets(_Problem.curvatures, state.logits).mean((0, 1))
            step = functools.partial(_iterate, _inverse(z, weights, strength))
            ending = state.iterations.max() + ROUND

            def in_round(problem: _Problem, state: _State) -> _State:
                def more(state: _State) -> jax.Array:
                    return goes_on(state) & (state.iterations < ending)

                return jax.lax.while_loop(more, functools.partial(step, problem), state)

            return over_subsets(in_round, state)

        begun = over_subsets(_start, before, last, steps, changes)
        done = jax.lax.while_loop(lambda state: goes_on(state).any(), round_of, begun)
        told = (done.w[..., :-1], done.w[..., -1], done.objective, done.bound, done.iterations)
        return (last, done.w, done.steps, done.changes), told

    return jax.lax.scan(at_strength, (w, w, pairs, pairs), l2)[1]


class _Problem(NamedTuple):
    """The objective of one subset at one strength, of logits [C, N]."""

    z: jax.Array
    truth: jax.Array
    share: jax.Array
    absent: jax.Array
    strength: jax.Array

    def forward(self, w: jax.Array) -> jax.Array:
        return jnp.einsum("cd,nd->cn", w, self.z)

    def probs(self, logits: jax.Array) -> jax.Array:
        return jax.nn.softmax(logits + self.absent[:, None], 0)

    def objective(self, w: jax.Array, logits: jax.Array) -> jax.Array:
        losses = jax.nn.logsumexp(logits + self.absent[:, None], 0) - (self.truth * logits).sum(0)
        return self.share @ losses + self.strength / 2 * (w[:, :-1] ** 2).sum()

    def gradient(self, logits: jax.Array) -> jax.Array:
        return jnp.einsum("cn,nd->cd", self.share * (self.probs(logits) - self.truth), self.z)

    def penalty(self, w: jax.Array) -> jax.Array:
        """The gradient of the penalty."""
        return self.strength * w.at[:, -1].set(0)

    def curvatures(self, logits: jax.Array) -> jax.Array:
        probs = self.probs(logits)
        return self.share * probs * (1 - probs)

    def bound(self, w: jax.Array, logits: jax.Array, gradient: jax.Array) -> jax.Array:
        whole = gradient + self.penalty(w)
        of_bias = whole[:, -1] ** 2 / jnp.maximum(self.curvatures(logits).sum(1), jnp.finfo(w.dtype).tiny)
        return ((whole[:, :-1] ** 2).sum() / self.strength + of_bias.sum()) / 2


def _inverse(z: jax.Array, weights: jax.Array, strength: jax.Array) -> jax.Array:
    """The inverse Hessian of one class whose examples have these weights, kept from rounding."""
    hessian = jnp.einsum("nd,ne->de", z * weights[:, None], z)
    penalty = jnp.full(z.shape[1], strength).at[-1].set(0)
    least = 4 * jnp.finfo(z.dtype).eps * jnp.trace(hessian)
    factor = jnp.linalg.cholesky(hessian + jnp.diag(penalty + least), symmetrize_input=False)
    return jax.scipy.linalg.cho_solve((factor, True), jnp.eye(z.shape[1], dtype=z.dtype))


def _start(problem: _Problem, before: jax.Array, last: jax.Array, steps: jax.Array, changes: jax.Array) -> _State:
    """Where the last two solutions lead, or at the last one, if that is better."""
    (ahead, far), (w, logits) = ((w, problem.forward(w)) for w in (2 * last - before, last))
    better = problem.objective(ahead, far) <= problem.objective(w, logits)
    w, logits = jnp.where(better, ahead, w), jnp.where(better, far, logits)
    gradient, objective, bound = _at(problem, w, logits)
    zero, least = jnp.zeros((), jnp.int32), jnp.stack([objective, bound])
    return _State(w, logits, gradient, steps, changes, objective, bound, least, zero, zero)


def _at(problem: _Problem, w: jax.Array, logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    gradient = problem.gradient(logits)
    return gradient, problem.objective(w, logits), problem.bound(w, logits, gradient)


def _iterate(inverse: jax.Array, problem: _Problem, state: _State) -> _State:
    direction = -_two_loops(problem, inverse, state)
    slopes = problem.forward(direction)
    length = _along(problem, state.w, direction, state.logits, slopes)
    w, logits = state.w + length * direction, state.logits + length * slopes
    gradient, objective, bound = _at(problem, w, logits)
    told = jnp.stack([objective, bound])
    return _State(
        w,
        logits,
        gradient,
        jnp.concatenate([state.steps[1:], (w - state.w)[None]]),
        jnp.concatenate([state.changes[1:], (gradient - state.gradient)[None]]),
        objective,
        bound,
        jnp.minimum(told, state.least),
        jnp.where((told < state.least).any(), 0, state.waited + 1),
        state.iterations + 1,
    )


def _two_loops(problem: _Problem, inverse: jax.Array, state: _State) -> jax.Array:
    """The inverse Hessian, as L-BFGS has it, times the gradient. Pairs that say nothing are passed over."""
    changes = state.changes + jax.vmap(problem.penalty)(state.steps)
    curved = (state.steps * changes).sum((1, 2))
    rates = jnp.where(curved > 0, 1 / jnp.where(curved > 0, curved, 1), 0)

    def back(q: jax.Array, pair: tuple) -> tuple[jax.Array, jax.Array]:
        step, change, rate = pair
        share = rate * (step * q).sum()
        return q - share * change, share

    def forth(r: jax.Array, pair: tuple) -> tuple[jax.Array, None]:
        step, change, rate, share = pair
        return r + step * (share - rate * (change * r).sum()), None

    pairs = state.steps, changes, rates
    q, shares = jax.lax.scan(back, state.gradient + problem.penalty(state.w), pairs, reverse=True)
    spread = (changes[-1] * (changes[-1] @ inverse)).sum()
    scale = jnp.where(rates[-1] > 0, curved[-1] / jnp.where(spread > 0, spread, 1), 1)
    return jax.lax.scan(forth, scale * (q @ inverse), (*pairs, shares))[0]


def _along(problem: _Problem, w: jax.Array, direction: jax.Array, logits: jax.Array, slopes: jax.Array) -> jax.Array:
    """The length of the step that minimises the objective along a direction: Newton's method within a bracket."""
    pull = (problem.penalty(direction) * direction).sum()

    def closer(_: jax.Array, bracket: tuple) -> tuple:
        low, high, length = bracket
        probs = problem.probs(logits + length * slopes)
        mean = (probs * slopes).sum(0)
        first = problem.share @ (mean - (problem.truth * slopes).sum(0))
        first = first + (problem.penalty(direction) * (w + length * direction)).sum()
        second = problem.share @ ((probs * slopes**2).sum(0) - mean**2) + pull
        low, high = jnp.where(first < 0, length, low), jnp.where(first < 0, high, length)
        newton = length - first / second
        halved = jnp.where(jnp.isfinite(high), (low + high) / 2, 2 * length + 1)
        return low, high, jnp.where((newton > low) & (newton < high), newton, halved)

    zero, ending = jnp.zeros((), w.dtype), jnp.asarray(jnp.inf, w.dtype)
    return jax.lax.fori_loop(0, LINE, closer, (zero, ending, zero))[2]
