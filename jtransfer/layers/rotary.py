"""Rotary position embeddings (Su et al. 2021, arXiv:2104.09864) in the layout of two halves."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def rotate(
    x: Float[Array, "b n h d"], positions: Int[Array, "#b n"], *, base: float = 10000.0, scaling: tuple[float, ...] = ()
) -> Float[Array, "b n h d"]:
    """Turns each pair (x[i], x[i + d/2]) by its position times the pair's frequency; computed in float32.

    Args:
      x: queries or keys.
      positions: of x.
      base: frequencies fall from 1 to about 1 / base along a head.
      scaling: see `frequencies`.
    """
    angles = positions[..., None, None] * frequencies(x.shape[-1], base, scaling)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def frequencies(features: int, base: float, scaling: tuple[float, ...] = ()) -> Float[np.ndarray, " pairs"]:
    """Radians a position, for each of the pairs of a head with this number of features.

    `scaling` stretches positions so that longer texts fit: none; (factor,), all frequencies are divided by it; or
    (factor, low, high, length), as in Llama 3.1: waves longer than length / low are stretched by the factor, those
    shorter than length / high are left, and between the two it goes over linearly in length / wave.
    """
    plain = 1.0 / base ** (np.arange(0, features, 2) / features)
    if not scaling:
        return plain.astype(np.float32)
    factor, *bands = scaling
    left = np.zeros_like(plain)
    if bands:
        low, high, length = bands
        left = np.clip((length * plain / (2 * math.pi) - low) / (high - low), 0.0, 1.0)
    return (plain * (left + (1 - left) / factor)).astype(np.float32)
