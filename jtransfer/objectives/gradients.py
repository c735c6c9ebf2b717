"""How the gradients of several tasks make one step: functions of their inner products alone."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.core.fields import Bounds, NotNegative
from jtransfer.core.registry import Registry
from jtransfer.layers.types import Array

Gram = Float[Array, "T T"]
Weights = Float[Array, " T"]

METHODS = Registry(
    "multi-task method",
    {
        "cagrad": "jtransfer.objectives.gradients:cagrad",
        "gradnorm": "jtransfer.objectives.gradients:gradnorm",
        "pcgrad": "jtransfer.objectives.gradients:pcgrad",
    },
)
"""Name → `make(**fields) -> Method`."""


class Seen(NamedTuple):
    """What a method knows of a step.

    Attributes:
      gram: the inner products of the tasks' gradients over the parameters that all tasks share.
      losses: of the tasks, each with its weight.
      state: what the method keeps from step to step.
      key: a random key of the step.
    """

    gram: Gram
    losses: Weights
    state: Any
    key: jax.Array


class Method(NamedTuple):
    """A way to make one gradient of several.

    Attributes:
      combine: `seen -> (shared, own, state)`: the weights [T] of the tasks' gradients over the shared parameters, and
        over those that are a task's own; and the next state.
      begin: number of tasks → the first state, a dict of arrays.
    """

    combine: Callable[[Seen], tuple[Weights, Weights, Any]]
    begin: Callable[[int], dict[str, Array]] = lambda tasks: {}


def pcgrad() -> Method:
    """Projects the gradient of each task off those of the others that it conflicts with, which come in random order,
    and adds up what is left (Yu et al. 2020, arXiv:2001.06782). Where no two conflict it is the plain sum."""

    def combine(seen: Seen):
        weights = projected(seen.gram, seen.key)
        return weights, jnp.ones_like(weights), seen.state

    return Method(combine)


def projected(gram: Gram, key: jax.Array) -> Weights:
    """Returns the weights of the gradients in the sum of the projected ones."""
    tasks = len(gram)
    identity = jnp.eye(tasks)

    def of_task(number, key):
        order = jax.random.permutation(key, tasks)

        def off(own, other):
            along = own @ gram[:, other]
            factor = jnp.where(
                (along < 0) & (other != number), along / jnp.where(gram[other, other] > 0, gram[other, other], 1), 0
            )
            return own - factor * identity[other], None

        return jax.lax.scan(off, identity[number], order)[0]

    return jax.vmap(of_task)(jnp.arange(tasks), jax.random.split(key, tasks)).sum(0)


def cagrad(*, c: Annotated[float, Bounds(0, 1, "[)")] = 0.4) -> Method:
    """Goes in the direction near to the mean gradient that serves the worst-served task best (Liu et al. 2021,
    arXiv:2110.14048): `d = g₀ + c·‖g₀‖·g_w / ‖g_w‖`, where `w` on the simplex minimises `g_w·g₀ + c·‖g₀‖·‖g_w‖`.

    Args:
      c: how far from the mean, as a part of its length; 0 is the mean of the tasks' gradients.
    """

    def combine(seen: Seen):
        weights = averse(seen.gram, c)
        return weights, jnp.ones_like(weights), seen.state

    return Method(combine)


def averse(gram: Gram, c: float) -> Weights:
    """Returns the weights of the gradients in CAGrad's direction."""
    tasks = len(gram)
    mean = jnp.full(tasks, 1 / tasks)
    if not c:
        return mean
    size = jnp.maximum(jnp.trace(gram), 1e-30)
    scaled = gram / size
    along, radius = scaled @ mean, c * jnp.sqrt(jnp.maximum(mean @ scaled @ mean, 0))

    def length(w):
        return jnp.sqrt(jnp.maximum(w @ scaled @ w, 1e-20))

    def slope(w):
        return along + radius * (scaled @ w) / length(w)

    def descend(_, carry):
        w, rate = carry
        moved = on_simplex(w - rate * slope(w))
        better = slope(moved) @ (moved - w) <= 0  # so the value is no greater, for it is convex
        return jnp.where(better, moved, w), jnp.clip(jnp.where(better, rate * 1.5, rate / 2), 1e-6, 1e3)

    w, _ = jax.lax.fori_loop(0, 500, descend, (mean, jnp.ones(())))
    return mean + radius * w / length(w)


def on_simplex(v: Weights) -> Weights:
    """Returns the point of the simplex that is nearest (Duchi et al. 2008)."""
    falling = jnp.sort(v)[::-1]
    excess = (jnp.cumsum(falling) - 1) / jnp.arange(1, len(v) + 1)
    last = jnp.sum(falling > excess) - 1
    return jnp.maximum(v - excess[last], 0)


def gradnorm(*, alpha: NotNegative = 1.5, lr: NotNegative = 0.025) -> Method:
    """Learns weights of the tasks with which their gradients are as long as their rates of training ask for: GradNorm
    (Chen et al. 2018, arXiv:1711.02257).

    The weights, which add up to the number of tasks, descend `Σ |w·‖g‖ − mean(w·‖g‖)·r^alpha|`, where r is the task's
    loss by its first one, by the mean of these; the last is held constant, as published. The gradients are those over
    all parameters that the tasks share.

    Args:
      alpha: how much sooner tasks that lag behind are pulled; 0 makes all gradients as long as each other.
      lr: the rate of the weights.
    """

    def combine(seen: Seen):
        weights, first = seen.state["weights"], seen.state["first"]
        first = jnp.where(first > 0, first, jnp.maximum(seen.losses, 1e-12))
        updated = balanced(weights, jnp.sqrt(jnp.diag(seen.gram)), seen.losses / first, alpha=alpha, lr=lr)
        return weights, weights, {"weights": updated, "first": first}

    return Method(combine, lambda tasks: {"weights": jnp.ones(tasks), "first": jnp.zeros(tasks)})


def balanced(weights: Weights, lengths: Weights, ratios: Weights, *, alpha: float, lr: float) -> Weights:
    """Returns GradNorm's next weights.

    Args:
      weights: of the tasks.
      lengths: of the gradients of the tasks without weights.
      ratios: of each loss by its first one.
      alpha, lr: as of `gradnorm`.
    """
    now = weights * lengths
    aims = now.mean() * (ratios / jnp.maximum(ratios.mean(), 1e-12)) ** alpha
    moved = jnp.maximum(weights - lr * lengths * jnp.sign(now - aims), 1e-3)
    return moved * len(moved) / moved.sum()
