"""Attention: one function and one module for every transformer; rotary positions."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer.layers import Attention, PostNorm
from jtransfer.layers.attend import attend
from jtransfer.layers.cpu import dispatch
from jtransfer.layers.dropout import Drawn, keep
from jtransfer.layers.frozen import freeze
from jtransfer.layers.rotary import frequencies, rotate

X = jax.random.normal(jax.random.key(0), (2, 6, 16))
CONTEXT = jax.random.normal(jax.random.key(1), (2, 4, 8))


def made(context=None, **fields):
    module = Attention(4, **fields)
    return module, module.init(jax.random.key(2), X, context)


FURTHER = {"rotate": rotate, "norm": nn.RMSNorm, "window": 3, "softcap": 2.0}


@pytest.mark.parametrize("fields", [{}, FURTHER])
def test_a_sequence_in_pieces_equals_the_whole(fields):
    module, variables = made(causal=True, num_kv_heads=2, **fields)
    _, cache = module.apply(variables, X, mutable=["cache"])
    found = []
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        places = jnp.arange(start, stop)[None]
        y, cache = module.apply({**variables, **cache}, X[:, start:stop], positions=places, mutable=["cache"])
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
    np.testing.assert_allclose(attend(q, k, v, drop=Drawn(jax.random.key(0), 1e-9)), repeated, atol=1e-6)


def test_shared_heads_are_exported_for_any_number_of_tokens():
    (n,) = jax.export.symbolic_shape("n")
    q, kv = (jax.ShapeDtypeStruct((1, n, heads, 8), jnp.float32) for heads in (4, 2))
    exported = jax.export.export(jax.jit(partial(attend, causal=True)))(q, kv, kv)
    q, k, v = (jax.random.normal(jax.random.key(i), (1, 5, heads, 8)) for i, heads in enumerate((4, 2, 2)))
    repeated = (jnp.repeat(part, 2, axis=2) for part in (k, v))
    np.testing.assert_allclose(exported.call(q, k, v), attend(q, *repeated, causal=True), atol=1e-6)


@pytest.mark.parametrize("drop", [None, Drawn(jax.random.key(0), 1e-9)])
def test_mask_and_bias(drop):
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 5, 4, 8)) for i in range(3))
    mask = jnp.array([True, True, False, True, False])[None, None, None]
    bias = jax.random.normal(jax.random.key(3), (1, 4, 5, 5))
    seen = np.flatnonzero(mask)
    expected = attend(q, k[:, seen], v[:, seen], bias=bias[..., seen], scale=1.0)
    np.testing.assert_allclose(attend(q, k, v, mask=mask, bias=bias, scale=1.0, drop=drop), expected, atol=1e-6)


def test_a_window_hides_what_lies_further_back():
    module, variables = made(causal=True, window=2)
    changed = module.apply(variables, X.at[:, 1].add(1.0)) != module.apply(variables, X)
    np.testing.assert_array_equal(changed.any(axis=(0, 2)), [False, True, True, False, False, False])


@pytest.mark.parametrize("softcap", [1e4, 0.5])
def test_a_cap_bounds_the_logits(softcap):
    q, k, v = (3 * jax.random.normal(jax.random.key(i), (2, 5, 4, 8)) for i in range(3))
    mask = jnp.arange(5) < 4
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k) * 0.5
    weights = jax.nn.softmax(jnp.where(mask, softcap * jnp.tanh(logits / softcap), -jnp.inf))
    expected = jnp.einsum("bhnm,bmhd->bnhd", weights, v)
    np.testing.assert_allclose(
        attend(q, k, v, mask=mask[None, None, None], scale=0.5, softcap=softcap), expected, atol=1e-5
    )
    if softcap > 1e3:
        np.testing.assert_allclose(attend(q, k, v, mask=mask[None, None, None], scale=0.5), expected, atol=1e-4)


def test_norms_of_queries_and_keys_make_their_size_irrelevant():
    module, variables = made(norm=partial(nn.RMSNorm, epsilon=1e-12), use_bias=False)
    assert set(variables["params"]) == {"query", "key", "value", "out", "query_norm", "key_norm"}
    scaled = jax.tree.map(jnp.copy, variables)
    scaled["params"]["query"]["kernel"] *= 7.0
    scaled["params"]["key"]["kernel"] *= 0.2
    np.testing.assert_allclose(module.apply(scaled, X), module.apply(variables, X), atol=1e-5)


def test_rotated_products_depend_on_the_distance_alone():
    q, k = jnp.repeat(jax.random.normal(jax.random.key(4), (2, 1, 1, 1, 8)), 3, axis=1)
    at = jnp.array([[0], [3], [40]])

    def product(i, j):
        return jnp.sum(rotate(q, i) * rotate(k, j), axis=(1, 2, 3))

    products = product(at + 5, at)
    np.testing.assert_allclose(products, products[0], atol=1e-4)
    assert abs(product(at[:1] + 6, at[:1])[0] - products[0]) > 1e-2


def test_rotary_scaling_stretches_long_waves_alone():
    plain, scaled = frequencies(64, 1e4), frequencies(64, 1e4, (8.0, 1.0, 4.0, 512))
    waves = 2 * np.pi / plain
    np.testing.assert_array_equal(scaled[waves < 512 / 4], plain[waves < 512 / 4])
    np.testing.assert_allclose(scaled[waves > 512], plain[waves > 512] / 8, rtol=1e-6)
    assert np.all(np.diff(scaled) < 0)
    np.testing.assert_allclose(frequencies(64, 1e4, (8.0,)), plain / 8, rtol=1e-6)


def test_dropout_is_of_training_alone_and_stands_still_where_frozen():
    module, variables = made(dropout=0.5)
    y = module.apply(variables, X)
    rngs = {"dropout": jax.random.key(3)}
    assert not np.allclose(module.apply(variables, X, train=True, rngs=rngs), y)
    with freeze(lambda path: True):
        np.testing.assert_allclose(module.apply(variables, X, train=True, rngs=rngs), y, atol=1e-6)


@pytest.mark.parametrize("mask", [None, jnp.arange(5) < jnp.array([[3], [0]])])
def test_attention_on_a_cpu_is_jaxs(mask):
    """Also of a text that is padding alone."""
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 5, 4, 8)) for i in range(3))
    bias = jax.random.normal(jax.random.key(3), (1, 4, 5, 5))
    mask = None if mask is None else mask[:, None, None]

    def run(f):
        def total(*args):
            return jnp.sum(jnp.sin(f(*args[:3], bias=args[3], mask=mask)))

        return jax.value_and_grad(total, argnums=(0, 1, 2, 3))(q, k, v, bias)

    for a, b in zip(jax.tree.leaves(run(attend)), jax.tree.leaves(run(jax.nn.dot_product_attention)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("groups", [4, 2])
def test_dropped_weights_are_those_that_are_drawn(groups):
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 5, heads, 8)) for i, heads in enumerate((4, groups, groups)))
    key, rate = jax.random.key(7), 0.3

    def plain(q, k, v):
        k, v = (jnp.repeat(part, 4 // groups, axis=2) for part in (k, v))
        weights = jax.nn.softmax(jnp.einsum("bnhd,bmhd->bhnm", q, k) / 8**0.5)
        weights = jnp.where(keep(key, rate, weights.shape), weights / (1 - rate), 0)
        return jnp.einsum("bhnm,bmhd->bnhd", weights, v)

    def run(f):
        return jax.value_and_grad(lambda *args: jnp.sum(jnp.sin(f(*args))), argnums=(0, 1, 2))(q, k, v)

    found, expected = run(partial(attend, drop=Drawn(key, rate))), run(plain)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_array_equal(attend(q, k, v, drop=Drawn(key, 1.0)), jnp.zeros_like(q))


def test_dropout_keeps_one_array_of_weights_for_the_gradient():
    q = jax.ShapeDtypeStruct((2, 64, 4, 8), jnp.float32)
    _, pull = jax.eval_shape(partial(jax.vjp, partial(attend, drop=Drawn(jax.random.key(0), 0.1))), q, q, q)
    assert sum(leaf.size == 2 * 4 * 64 * 64 for leaf in jax.tree.leaves(pull)) == 1


def test_the_gradient_of_half_precision_has_no_float32_products():
    q = jnp.ones((2, 6, 4, 8), jnp.bfloat16)
    for drop in (None, Drawn(jax.random.key(0), 0.1)):
        gradient = jax.grad(lambda *args, drop=drop: attend(*args, drop=drop).astype(jnp.float32).sum(), (0, 1, 2))
        lines = str(jax.make_jaxpr(gradient)(q, q, q)).splitlines()
        products = [line.split("=")[0] for line in lines if "= dot_general" in line]
        assert sum("f32[" in product for product in products) == 1, "the logits alone are float32"


def test_a_layer_keeps_little_for_its_gradient():
    """Bytes that a compiled gradient needs beyond its arguments: below those of the same layer made of stock parts."""

    class Stock(nn.Module):
        @nn.compact
        def __call__(self, x):
            q, k, v, mixed = (nn.Dense(32, name=f"{i}") for i in range(4))
            heads = (*x.shape[:-1], 4, 8)
            y = jax.nn.dot_product_attention(q(x).reshape(heads), k(x).reshape(heads), v(x).reshape(heads))
            x = nn.LayerNorm()(x + mixed(y.reshape(x.shape)))
            return nn.LayerNorm()(x + nn.Dense(32)(nn.gelu(nn.Dense(128)(x), approximate=False)))

    class Ours(nn.Module):
        @nn.compact
        def __call__(self, x):
            return PostNorm(4, 128)({"x": x, "mask": None})["x"]

    def bytes_of(layer):
        x = jnp.zeros((8, 32, 32))
        stack = nn.Sequential([layer() for _ in range(4)])
        variables = jax.eval_shape(stack.init, jax.random.key(0), x)
        compiled = jax.jit(jax.grad(lambda variables, x: stack.apply(variables, x).sum())).lower(variables, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(Ours) < 0.75 * bytes_of(Stock)


def test_an_accelerator_computes_activations_once_more():
    """To the same gradients; fewer arrays as wide as the activation are kept."""
    layer = PostNorm(4, 128)
    variables = layer.init(jax.random.key(2), {"x": X, "mask": None})

    def total(variables):
        return jnp.sum(jnp.sin(layer.apply(variables, {"x": X, "mask": None})["x"]))

    def kept():
        _, pull = jax.eval_shape(partial(jax.vjp, total), variables)
        return sum(leaf.shape == (2, 6, 128) for leaf in jax.tree.leaves(pull))

    expected, before = jax.grad(total)(variables), kept()
    with dispatch.platform("any"):
        found, after = jax.grad(total)(variables), kept()
    assert after < before
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_what_changes_the_input_of_a_dense_layer_is_heard_by_accelerators():
    """Nothing is computed once more of an activation that is not the layer's input."""
    layer = PostNorm(4, 128)
    variables = layer.init(jax.random.key(2), {"x": X, "mask": None})

    def doubled(call, args, kwargs, context):
        return call(*[2 * arg for arg in args], **kwargs) if context.module.name == "fc2" else call(*args, **kwargs)

    def total(variables):
        with nn.intercept_methods(doubled):
            return jnp.sum(jnp.sin(layer.apply(variables, {"x": X, "mask": None})["x"]))

    expected = jax.value_and_grad(total)(variables)
    with dispatch.platform("any"):
        found = jax.value_and_grad(total)(variables)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
