"""RMS norm: against Flax's, its offset, and its dtype."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer.layers.rms_norm import RMSNorm

X = 3 * jax.random.normal(jax.random.key(0), (2, 5, 8)) + 1
SCALE = jnp.linspace(0.5, 2.0, 8)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_equals_flax_with_the_offset_in_the_scale(offset):
    found = RMSNorm(1e-3, offset).apply({"params": {"scale": SCALE - offset}}, X)
    np.testing.assert_allclose(found, nn.RMSNorm(1e-3).apply({"params": {"scale": SCALE}}, X), rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_starts_with_a_mean_square_of_one(offset):
    module = RMSNorm(offset=offset)
    y = module.apply(module.init(jax.random.key(1), X), X)
    np.testing.assert_allclose(jnp.mean(y**2, axis=-1), 1.0, rtol=1e-5)


def test_computes_in_float32():
    large = (X * 1e4).astype(jnp.float16)
    y = RMSNorm().apply({"params": {"scale": SCALE}}, large)
    assert y.dtype == jnp.float16
    expected = nn.RMSNorm().apply({"params": {"scale": SCALE}}, large.astype(jnp.float32))
    np.testing.assert_allclose(y, expected, rtol=2e-3)
