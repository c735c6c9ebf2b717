"""Rotary position embeddings."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array


def rotate(
    x: Float[Array, "b n h d"], positions: Int[Array, "#b n"], *, base: float = 10000.0, scaling: tuple[float, ...] = ()
) -> Float[Array, "b n h d"]:
    """Rotates each pair of features (x[i], x[i + d/2]) by its position times the frequency of the pair.

    Computed in float32; the result has the dtype of x. The pairs lie half a head apart, as in Hugging Face's
    transformers; the paper pairs neighbours.

    Args:
      x: Queries or keys, with the axes [batch, positions, heads, features].
      positions: The position of each token.
      base: The frequencies fall from 1 to about 1 / base along a head.
      scaling: How positions are stretched, see `frequencies`.

    Raises:
      InputError: The number of features is odd.

    References:
      Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, arXiv:2104.09864, 2021.
    """
    if x.shape[-1] % 2:
        raise InputError(f"head_dim={x.shape[-1]} is odd, and rotary position embeddings turn pairs of features")
    angles = positions[..., None, None] * frequencies(x.shape[-1], base, scaling)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def frequencies(features: int, base: float, scaling: tuple[float, ...] = ()) -> Float[np.ndarray, " pairs"]:
    """The angle in radians by which a position turns each pair of features of a head, float32 [features / 2].

    Args:
      features: The number of features of a head.
      base: The frequencies fall from 1 to about 1 / base.
      scaling: How positions are stretched, so that a model reads longer texts. Empty: not at all. `(factor,)`: all
        frequencies are divided by the factor. `(factor, low, high, length)`: Llama 3.1's rule, by which waves longer
        than length / low are stretched by the factor, those shorter than length / high are left as they are, and
        between the two the frequency is interpolated linearly in length / wave.
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
