"""How much each channel of a feature map matters to new labels: DELTA's weights, measured with the initial network."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.objectives.term import TARGET, Survey

STEPS = 300  # of the linear head


def measure(survey: Survey, places: Sequence[str], trunk: str, *, examples: int, alpha: float) -> dict[str, Array]:
    """Returns the weights [c] of the channels of each stage.

    A linear head is trained on the features of the initial network; then each channel is set to 0 in turn.

    Args:
      survey: of the initial network.
      places: the stages.
      trunk: the stage whose output the head is given.
      examples: how many.
      alpha: as of `weights_of`.
    """
    seen: list[tuple[Any, Any, Any]] = []
    look = jax.jit(lambda x: survey.look(survey.variables, x, tuple(dict.fromkeys((*places, trunk)))))
    for batch in survey.batches(TARGET, examples):
        seen.append((look(batch["inputs"]), batch["label"], batch["mask"]))
    features = jnp.concatenate([_flat(found[trunk]) for found, _, _ in seen])
    labels, real = (jnp.concatenate([one[i] for one in seen]) for i in (1, 2))
    if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.ndim > 1:
        raise InputError("objective: 'delta' measures channels (examples > 0) for classes only; set it to 0")
    head = linear_head(features, labels, real, classes=int(np.max(np.asarray(labels))) + 1)
    return {place: weights_of(_growth(survey, seen, head, place, trunk), alpha=alpha) for place in places}


def _growth(survey: Survey, seen: Sequence[tuple[Any, Any, Any]], head: Any, place: str, trunk: str) -> Array:
    """By how much the loss grows without each of the channels of a stage, [c]."""

    def without(x, keep, labels, real):
        features = x * keep
        if place != trunk:
            features = survey.resume(survey.variables, features, place, (trunk,))[trunk]
        return (_losses(head, _flat(features), labels) * real).sum()

    def of_batch(x, labels, real):
        channels = x.shape[-1]
        whole = without(x, jnp.ones(channels, x.dtype), labels, real)
        each = jax.lax.map(
            lambda c: without(x, (jnp.arange(channels) != c).astype(x.dtype), labels, real), jnp.arange(channels)
        )
        return each - whole

    run = jax.jit(of_batch)
    parts = [run(found[place], labels, real) for found, labels, real in seen]
    return sum(parts[1:], parts[0]) / sum(float(real.sum()) for _, _, real in seen)


def weights_of(growth: Float[Array, " c"], *, alpha: float = 1.0) -> Float[Array, " c"]:
    """Returns softmax(alpha · z / 5), where z is how much the loss grows without each channel, standardised.

    Args:
      growth: of the loss.
      alpha: 0 weights all channels alike.
    """
    away = growth - growth.mean()
    return jax.nn.softmax(alpha * away / jnp.maximum(jnp.sqrt(jnp.square(away).mean()), 1e-12) / 5)


def linear_head(
    features: Float[Array, "n d"], labels: Int[Array, " n"], real: Array, *, classes: int
) -> tuple[Array, Array, Array, Array]:
    """Returns a linear head for features: their means and scales, with which they are standardised, kernel and bias."""
    weights = (real / real.sum()).astype(jnp.float32)
    mean = weights @ features
    scale = jnp.sqrt(weights @ jnp.square(features - mean)) + 1e-6
    kernel, bias = jnp.zeros((features.shape[-1], classes)), jnp.zeros(classes)
    tx = optax.adam(0.01)

    def loss(params):
        return (weights * _losses((mean, scale, *params), features, labels)).sum()

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    begun = (kernel, bias)
    (found, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS))((begun, tx.init(begun)))
    return mean, scale, *found


def _losses(head: Any, features: Array, labels: Array) -> Array:
    mean, scale, kernel, bias = head
    logits = ((features - mean) / scale) @ kernel + bias
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _flat(x: Any) -> Array:
    return x.reshape(len(x), -1).astype(jnp.float32)
