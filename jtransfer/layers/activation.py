"""Activations by the names that configurations give them."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.special import erf
from jaxtyping import Array, Float


@jax.custom_jvp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x · Φ(x), Φ the distribution function of the normal distribution (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    For a gradient, only x is kept of what is computed here; with `jax.nn.gelu`, XLA's CPU compiler keeps two arrays
    more.
    """
    return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))


@gelu.defjvp
def _gelu_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    mirrored = 0.5 - 0.5 * erf(x * -math.sqrt(0.5))  # Φ(x) in words that the compiler does not take for those above
    density = jnp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return gelu(x), (mirrored + x * density) * dx


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_new": partial(nn.gelu, approximate=True),
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "silu": nn.silu,
    "tanh": nn.tanh,
}
