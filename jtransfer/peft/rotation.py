"""Orthogonal matrices in blocks, by Cayley's transform, and what they do to the last axis of an array."""

import jax
import jax.numpy as jnp

from jtransfer.layers.types import Array


@jax.custom_jvp
def cayley(skew: Array) -> Array:
    """Returns the orthogonal matrices (I - Q)(I + Q)⁻¹ [..., b, b] of skew-symmetric Q [..., b, b]."""
    eye = jnp.eye(skew.shape[-1])
    return 2 * jnp.linalg.inv(eye + skew) - eye


@cayley.defjvp
def _cayley_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (skew,), (change,) = primals, tangents
    turn = cayley(skew)
    inverse = (turn + jnp.eye(skew.shape[-1])) / 2
    return turn, -2 * inverse @ change @ inverse


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
