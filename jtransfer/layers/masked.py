"""Pooling over the positions of a sequence that are no padding."""

import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.layers.types import Array


def masked_mean(x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The mean of a sequence over the positions where the mask is True.

    Computed in float32; the result has the dtype of x. It is zero where the mask is False everywhere.
    """
    weights = mask.astype(jnp.float32)[..., None]
    total = (x.astype(jnp.float32) * weights).sum(axis=1)
    return (total / jnp.maximum(weights.sum(axis=1), 1.0)).astype(x.dtype)


def masked_max(x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The maximum of each feature of a sequence over the positions where the mask is True.

    It is zero where the mask is False everywhere.
    """
    highest = jnp.where(mask[..., None], x, -jnp.inf).max(axis=1)
    return jnp.where(mask.any(axis=1, keepdims=True), highest, 0)
