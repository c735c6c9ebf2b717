"""Orthogonal matrices in blocks, by Cayley's transform, and what they do to the last axis of an array."""

import jax.numpy as jnp

from jtransfer.layers.types import Array


def cayley(skew: Array) -> Array:
    """Returns the orthogonal matrices (I - Q)(I + Q)⁻¹ [..., b, b] of skew-symmetric Q [..., b, b]."""
    eye = jnp.eye(skew.shape[-1])
    return jnp.linalg.solve(eye + skew, eye - skew)


def series(skew: Array, coefficients: Array) -> Array:
    """Returns the sum of powers of matrices [..., b, b], the first coefficient being that of the identity."""
    eye = jnp.eye(skew.shape[-1])
    total = coefficients[-1] * eye
    for coefficient in coefficients[-2::-1]:
        total = coefficient * eye + total @ skew
    return total


def turned(x: Array, blocks: Array) -> Array:
    """Returns x · diag(blocks), for x [..., n · b] and blocks [n, b, b]."""
    split = x.reshape(*x.shape[:-1], *blocks.shape[:2])
    return jnp.einsum("...nb,nbc->...nc", split, blocks.astype(x.dtype)).reshape(x.shape)


def transposed(blocks: Array) -> Array:
    """Returns the transpose of each block."""
    return jnp.swapaxes(blocks, -1, -2)
