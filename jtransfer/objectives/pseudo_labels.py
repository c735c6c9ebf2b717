"""Labels that a model gives to examples without any: by its certain predictions, and by the nearest mean of a class."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from jtransfer.layers.types import Array

Logits = Float[Array, "B C"]


def certain(logits: Logits, threshold: float) -> tuple[Int[Array, " B"], Bool[Array, " B"]]:
    """Returns the predicted class of each example, and whether its probability is at least the threshold."""
    p = jax.nn.softmax(jax.lax.stop_gradient(logits).astype(jnp.float32))
    return jnp.argmax(p, -1), p.max(-1) >= threshold


def of_centroids(
    features: Float[Array, "B d"], logits: Logits, mask: Bool[Array, " B"], *, rounds: int = 1
) -> Int[Array, " B"]:
    """Returns the class of each example whose centroid is nearest to its features, by the cosine (SHOT, Liang et al.
    2020, arXiv:2002.08546, section 3.3).

    The first centroids are means weighted by the predicted probabilities, the next those of the classes just given.
    Classes that are predicted for no example are given to none. A one is appended to the features first.

    Args:
      features: Any float dtype; computed in float32.
      logits: Of the same examples.
      mask: False where an example is padding; it moves no centroid.
      rounds: How often classes are given anew.
    """
    features, real = features.astype(jnp.float32), mask.astype(jnp.float32)[:, None]
    x = _unit(jnp.concatenate([features, jnp.ones((len(features), 1))], axis=1))
    p = jax.nn.softmax(logits.astype(jnp.float32))
    occurs = ((jax.nn.one_hot(jnp.argmax(p, -1), p.shape[-1]) * real).sum(0)) > 0
    given = _nearest(x, p * real, occurs)
    for _ in range(rounds):
        given = _nearest(x, jax.nn.one_hot(given, p.shape[-1]) * real, occurs)
    return jax.lax.stop_gradient(given)


def cross_entropy(logits: Logits, labels: Int[Array, " B"]) -> Float[Array, " B"]:
    """Returns the cross-entropy of each example, float32."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def _nearest(x: Array, weights: Array, occurs: Array) -> Array:
    means = jnp.matmul(weights.T, x, precision="highest") / (1e-8 + weights.sum(0)[:, None])
    cosines = jnp.matmul(x, _unit(means).T, precision="highest")
    return jnp.argmax(jnp.where(occurs, cosines, -jnp.inf), -1)


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)
