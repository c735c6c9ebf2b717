"""Logits by an embedding's table: the same for few queries, whose product is turned round on a CPU, and for many."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer.layers import TiedEmbed
from jtransfer.layers.cpu import dispatch


def drawn(shape, dtype=jnp.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def logits_of(module, table, query):
    return module.apply({"params": {"embedding": table}}, query, method="attend")


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
@pytest.mark.parametrize("shape", [(16,), (1, 16), (8, 1, 16), (2, 5, 16), (65, 16), (4, 40, 16)])
def test_logits_are_products_with_the_table(shape, dtype, tolerance):
    table, query = drawn((50, 16)), drawn(shape, seed=1)
    found = logits_of(TiedEmbed(50, 16, dtype=dtype), table, query)
    given = [np.asarray(a.astype(dtype), np.float64) for a in (query, table)]
    assert (found.dtype, found.shape) == (dtype, (*shape[:-1], 50))
    np.testing.assert_allclose(np.asarray(found, np.float64), given[0] @ given[1].T, tolerance, 10 * tolerance)


def test_derivatives_are_those_of_flax():
    table, query, seen = drawn((50, 16)), drawn((3, 1, 16), seed=1), drawn((3, 1, 50), seed=2)
    of = [lambda t, q, m=m: (logits_of(m, t, q) * seen).sum() for m in (TiedEmbed(50, 16), nn.Embed(50, 16))]
    for derive in (lambda f: jax.grad(f, (0, 1))(table, query), lambda f: jax.jvp(f, (table, query), (table, query))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-4), *map(derive, of))
    several = jax.vmap(lambda q: logits_of(TiedEmbed(50, 16), table, q))(query)
    np.testing.assert_allclose(several, query @ table.T, 1e-4, 1e-4)


@pytest.mark.parametrize(("platform", "queries", "turned"), [("cpu", 64, True), ("cpu", 65, False), ("tpu", 8, False)])
def test_only_few_queries_on_a_cpu_are_turned_round(platform, queries, turned):
    with dispatch.platform(platform):
        program = str(jax.make_jaxpr(lambda q: logits_of(TiedEmbed(50, 16), drawn((50, 16)), q))(drawn((queries, 16))))
    assert ("optimization_barrier" in program) is turned
