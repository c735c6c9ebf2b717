"""Attention: one function and one module for every transformer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer.layers import Attention
from jtransfer.layers.attention import attend
from jtransfer.layers.still import hold_still

X = jax.random.normal(jax.random.key(0), (2, 6, 16))
CONTEXT = jax.random.normal(jax.random.key(1), (2, 4, 8))


def made(context=None, **fields):
    module = Attention(4, **fields)
    return module, module.init(jax.random.key(2), X, context)


def test_a_sequence_in_pieces_equals_the_whole():
    module, variables = made(causal=True, kv_heads=2)
    _, cache = module.apply(variables, X, mutable=["cache"])
    found = []
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        y, cache = module.apply({**variables, **cache}, X[:, start:stop], mutable=["cache"])
        found.append(y)
    np.testing.assert_allclose(np.concatenate(found, axis=1), module.apply(variables, X), atol=1e-6)


def test_a_context_is_kept():
    module, variables = made(CONTEXT)
    y, cache = module.apply(variables, X, CONTEXT, mutable=["cache"])
    again, _ = module.apply({**variables, **cache}, X, jnp.zeros_like(CONTEXT), mutable=["cache"])
    np.testing.assert_array_equal(y, again)


def test_shared_heads_equal_repeated_ones():
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 5, heads, 8)) for i, heads in enumerate((4, 2, 2)))
    repeated = attend(q, jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2))
    np.testing.assert_allclose(attend(q, k, v), repeated, atol=1e-6)
    np.testing.assert_allclose(attend(q, k, v, drop=lambda weights: weights), repeated, atol=1e-6)


@pytest.mark.parametrize("drop", [None, lambda weights: weights])
def test_mask_and_bias(drop):
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 5, 4, 8)) for i in range(3))
    mask = jnp.array([True, True, False, True, False])[None, None, None]
    bias = jax.random.normal(jax.random.key(3), (1, 4, 5, 5))
    seen = np.flatnonzero(mask)
    expected = attend(q, k[:, seen], v[:, seen], bias=bias[..., seen], scale=1.0)
    np.testing.assert_allclose(attend(q, k, v, mask=mask, bias=bias, scale=1.0, drop=drop), expected, atol=1e-6)


def test_dropout_is_of_training_alone_and_stands_still_where_frozen():
    module, variables = made(dropout=0.5)
    y = module.apply(variables, X)
    rngs = {"dropout": jax.random.key(3)}
    assert not np.allclose(module.apply(variables, X, train=True, rngs=rngs), y)
    with hold_still(lambda path: True):
        np.testing.assert_allclose(module.apply(variables, X, train=True, rngs=rngs), y, atol=1e-6)
