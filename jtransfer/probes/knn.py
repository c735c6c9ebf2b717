"""Nearest neighbours, for several numbers of them at once."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jtransfer.core.errors import InputError
from jtransfer.probes import checks

BLOCK = 256  # queries that are compared at a time


def knn(
    features: ArrayLike,
    labels: ArrayLike,
    queries: ArrayLike,
    k: Sequence[int] | int = (10, 20, 100, 200),
    *,
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> np.ndarray:
    """Returns the classes that the nearest examples tell of queries, as probabilities.

    The vectors are scaled to length 1, and a neighbour has the weight exp(cosine / temperature), divided by that of all
    k together, as in the evaluation of DINOv2.

    Args:
      features: float [N, D], of the examples that are known.
      labels: int [N], their classes.
      queries: float [Q, D].
      k: Numbers of neighbours, at most N.
      temperature: A positive number. The greater, the more alike the neighbours count.
      num_classes: The number of classes; None is the greatest label and one.

    Returns:
      float [len(k), Q, C].

    Raises:
      InputError: A k is not in [1, N], or the features are not finite or don't fit each other.
    """
    x, y, count = checks.labelled(features, labels, num_classes)
    q, asked = checks.finite(queries, "queries"), np.atleast_1d(np.asarray(k))
    if q.shape[1] != x.shape[1]:
        raise InputError(f"queries have {q.shape[1]} numbers each, and the features {x.shape[1]}")
    if asked.dtype.kind not in "iu" or asked.ndim != 1 or not len(asked) or asked.min() < 1 or asked.max() > len(x):
        raise InputError(f"k={k}: give whole numbers from 1 to {len(x)}, the number of examples")
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature={temperature}: give a positive number")
    found = _probs(x, jnp.asarray(y), q, jnp.asarray(asked), temperature, count, int(asked.max()))
    return np.asarray(found)


@functools.partial(jax.jit, static_argnames=("count", "most"))
def _probs(
    x: jax.Array, y: jax.Array, q: jax.Array, k: jax.Array, temperature: ArrayLike, count: int, most: int
) -> jax.Array:
    known = _unit(x)

    def of_query(query: jax.Array) -> jax.Array:
        near, which = jax.lax.top_k(jnp.einsum("nd,d->n", known, query, precision="highest"), most)
        among = jnp.arange(most) < k[:, None]
        shares = jax.nn.softmax(jnp.where(among, near / temperature, -jnp.inf), 1)
        return shares @ jax.nn.one_hot(y[which], count, dtype=x.dtype)

    return jnp.moveaxis(jax.lax.map(of_query, _unit(q), batch_size=BLOCK), 0, 1)


def _unit(x: jax.Array) -> jax.Array:
    length = jnp.linalg.norm(x, axis=1, keepdims=True)
    return x / jnp.where(length > 0, length, 1)
