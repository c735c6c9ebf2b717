"""Losses of numbers that are to be predicted."""

import jax.numpy as jnp
import optax
from jaxtyping import Float

from jtransfer.layers.types import Array


def mse(logits: Float[Array, "*B 1"] | Float[Array, "*B"], labels: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """`(logit - label)²`, in float32; logits may lack the last axis."""
    return jnp.square(_numbers(logits, labels) - labels.astype(jnp.float32))


def huber(
    logits: Float[Array, "*B 1"] | Float[Array, "*B"], labels: Float[Array, "*B"], *, delta: float = 1.0
) -> Float[Array, "*B"]:
    """`d²/2` up to a distance d of `delta`, and `delta·(d - delta/2)` beyond (Huber 1964), in float32."""
    return optax.huber_loss(_numbers(logits, labels), labels.astype(jnp.float32), delta=delta)


def _numbers(logits, labels):
    logits = logits.astype(jnp.float32)
    return logits[..., 0] if logits.ndim > labels.ndim else logits
