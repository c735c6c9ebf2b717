"""Activation functions by the names that configurations give them."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.special import erf
from jaxtyping import Float

from jtransfer.layers.types import Array


@jax.custom_jvp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The exact Gaussian error linear unit, x · Φ(x), where Φ is the standard normal distribution function.

    Computes what `jax.nn.gelu(x, approximate=False)` computes. Only x is kept for the gradient; of `jax.nn.gelu`, XLA's
    CPU compiler keeps two more arrays.

    References:
      Hendrycks & Gimpel, Gaussian Error Linear Units, arXiv:1606.08415, 2016.
    """
    return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))


@gelu.defjvp
def _gelu_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    mirrored = 0.5 - 0.5 * erf(x * -math.sqrt(0.5))  # Φ(x) in a form that is not merged with that above
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
"""Name in a configuration → function. "gelu_new" is the approximation of GELU by tanh."""
