"""Dropout: how often it drops, that it keeps the mean, and what it shares with Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer.layers.dropout import Dropout, keep


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(300, 101), (7, 5, 2, 300)])
def test_each_number_is_dropped_at_the_rate(rate, shape):
    kept = np.asarray(keep(jax.random.key(3), rate, shape))
    assert kept.dtype == bool
    assert kept.shape == shape
    error = (rate * (1 - rate) / kept.size) ** 0.5
    assert abs(kept.mean() - (1 - rate)) < 4 * error
    pairs = kept[..., :-1] & kept[..., 1:]  # of neighbours, which may be halves of one word
    assert abs(pairs.mean() - (1 - rate) ** 2) < 6 * error


def test_extreme_rates():
    key, x = jax.random.key(0), jnp.ones((4, 3))
    assert keep(key, 0.0, (100, 3)).all()
    assert keep(key, 0.5, ()).shape == ()
    assert Dropout(0.0).apply({}, x, deterministic=False) is x
    assert Dropout(0.5).apply({}, x, deterministic=True) is x
    assert (Dropout(1.0).apply({}, x, deterministic=False) == 0).all()


def test_it_is_flaxs_but_for_what_is_drawn():
    x = jax.random.normal(jax.random.key(1), (64, 32, 6)) + 3

    def run(kind):
        return kind(0.25, broadcast_dims=(1, -1), deterministic=False).apply({}, x, rngs={"dropout": jax.random.key(2)})

    ours, theirs = np.asarray(run(Dropout)), np.asarray(run(nn.Dropout))
    for y in (ours, theirs):
        dropped = (y == 0).all((1, 2))
        assert 4 < dropped.sum() < 30
        np.testing.assert_allclose(y[~dropped], np.asarray(x)[~dropped] / 0.75, rtol=1e-6)
