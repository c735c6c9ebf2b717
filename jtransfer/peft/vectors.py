"""One change of a kernel out of several: TIES and DARE, on arrays."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError, unknown

CONVENTIONS = ("total", "frequency", "weighted", "weighted_sum")


def linear(changes: jax.Array, weights: Sequence[float]) -> jax.Array:
    """Returns the weighted sum of changes [n, …]."""
    return jnp.tensordot(jnp.asarray(weights, changes.dtype), changes, 1)


def ties(changes: jax.Array, weights: Sequence[float], *, density: float, convention: str = "total") -> jax.Array:
    """Returns what changes have in common (TIES, Yadav et al. 2023, arXiv:2306.01708).

    Of each change the greatest numbers are kept; for each place one sign is elected; those that have it are averaged.

    Args:
      changes: [n, …].
      weights: n numbers.
      density: the share of the numbers of each change that is kept.
      convention: "total", the sign of the sum, and "frequency", that of the most, are those of Hugging Face's PEFT:
        signs are elected without weights, and the weighted sum is divided by the number of those that agree. "weighted"
        is mergekit's: signs are elected with weights, and the sum is divided by the sum of the weights of those that
        agree; "weighted_sum" is not divided.
    """
    kept = jnp.stack([_greatest(change, density) for change in changes])
    return agreed(kept, weights, convention)


def agreed(changes: jax.Array, weights: Sequence[float], convention: str) -> jax.Array:
    """Returns the mean of those numbers at each place that have the elected sign; arguments as of `ties`."""
    if convention not in CONVENTIONS:
        raise unknown("convention of TIES:", convention, CONVENTIONS)
    by_change = jnp.asarray(weights, changes.dtype).reshape(-1, *[1] * (changes.ndim - 1))
    weighted = changes * by_change
    votes = {"total": changes, "frequency": jnp.sign(changes)}.get(convention, weighted)
    signs = jnp.where(votes.sum(0) >= 0, 1, -1)
    agree = jnp.sign(weighted if convention.startswith("weighted") else changes) == signs
    total = jnp.sum(weighted * agree, 0)
    if convention == "weighted_sum":
        return total
    if convention == "weighted":
        shares = jnp.sum(by_change * agree, 0)
        return total / jnp.where(shares == 0, 1, shares)
    return total / jnp.maximum(agree.sum(0), 1)


def magnitude(changes: jax.Array, weights: Sequence[float], *, density: float) -> jax.Array:
    """Returns the weighted sum of the greatest numbers of each change; arguments as of `ties`."""
    return linear(jnp.stack([_greatest(change, density) for change in changes]), weights)


def drop(key: jax.Array, changes: jax.Array, *, density: float) -> jax.Array:
    """Returns changes [n, …] of which a random share is kept and scaled up (DARE, Yu et al. 2023, arXiv:2311.03099).

    Args:
      key: a random key.
      changes: [n, …].
      density: the share that is kept.
    """
    return jnp.where(jax.random.bernoulli(key, density, changes.shape), changes / density, 0)


def _greatest(change: jax.Array, density: float) -> jax.Array:
    flat = change.ravel()
    places = jax.lax.top_k(jnp.abs(flat), int(density * flat.size))[1]
    return jnp.zeros_like(flat).at[places].set(flat[places]).reshape(change.shape)


def check_density(density: float) -> None:
    """Raises an InputError if a share of numbers is none."""
    if not 0 < density <= 1:
        raise InputError(f"combine: density={density} must be above 0 and at most 1")
