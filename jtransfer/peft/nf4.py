"""Four-bit NormalFloat (Dettmers et al. 2023, arXiv:2305.14314): the 16 quantiles of a normal distribution, in blocks.

A block is 64 numbers in a row; it is divided by its greatest magnitude, and each number is then the nearest of the 16
values. Two codes share a byte.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 64
OUTER = 256  # blocks whose scales share one scale, with double quantisation
VALUES = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
_MIDDLES = (VALUES[1:] + VALUES[:-1]) / 2


def encode(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Returns codes and the scales of blocks.

    Args:
      x: float [m, n], n even.
      axis: along which blocks lie; the last one may be shorter.

    Returns:
      uint8 [m, n / 2], the code of a number in the four higher bits and that of the number n / 2 further on in the
      lower ones; and float32, of x's shape but for `axis`, which has the number of blocks.
    """
    size = x.shape[axis]
    padded = _pad(jnp.asarray(x, jnp.float32), axis)
    blocks = padded.reshape(*padded.shape[:axis], -1, BLOCK, *padded.shape[axis + 1 :])
    absmax = jnp.max(jnp.abs(blocks), axis=axis + 1)
    scaled = blocks / jnp.expand_dims(jnp.where(absmax > 0, absmax, 1), axis + 1)
    codes = jnp.zeros(scaled.shape, jnp.uint8)
    for middle in _MIDDLES:
        codes += (scaled > middle).astype(jnp.uint8)
    codes = jax.lax.slice_in_dim(codes.reshape(padded.shape), 0, size, axis=axis)
    high, low = jnp.split(codes, 2, axis=1)
    return (high << 4) | low, absmax


def decode(codes: jax.Array, absmax: jax.Array, axis: int) -> jax.Array:
    """Returns float32 [m, n], what `encode` was given, up to its error. `axis` is as of `encode`."""
    values = _chosen(jnp.concatenate([codes >> 4, codes & 15], axis=1))
    size = values.shape[axis]
    return values * jax.lax.slice_in_dim(jnp.repeat(absmax, BLOCK, axis=axis), 0, size, axis=axis)


def encode_scales(absmax: jax.Array) -> dict[str, jax.Array]:
    """Returns the scales of blocks in eight bits: double quantisation.

    Their mean is taken off; what is left is symmetric int8, with one scale for each 256 in a row.
    """
    offset = jnp.mean(absmax)
    flat = (absmax - offset).reshape(-1)
    groups = jnp.pad(flat, (0, -flat.size % OUTER)).reshape(-1, OUTER)
    scale = jnp.max(jnp.abs(groups), axis=1) / 127
    codes = jnp.round(groups / jnp.where(scale > 0, scale, 1)[:, None]).astype(jnp.int8)
    return {"absmax": codes.reshape(-1)[: flat.size].reshape(absmax.shape), "offset": offset, "scale": scale}


def decode_scales(stored: Mapping[str, Any]) -> jax.Array:
    """Returns what `encode_scales` was given, up to its error."""
    codes = stored["absmax"]
    scale = jnp.repeat(stored["scale"], OUTER)[: codes.size].reshape(codes.shape)
    return codes * scale + stored["offset"]


def _pad(x: jax.Array, axis: int) -> jax.Array:
    return jnp.pad(x, [(0, -size % BLOCK if i == axis else 0) for i, size in enumerate(x.shape)])


def _chosen(codes: jax.Array) -> jax.Array:
    """`VALUES[codes]`, as comparisons, which vectorise where a gather does not."""
    found = jnp.full(codes.shape, VALUES[0])
    for code in range(1, len(VALUES)):
        found = jnp.where(codes >= code, VALUES[code], found)
    return found
