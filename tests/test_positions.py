"""Positions in attention and in embeddings: relative buckets and sinusoids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer.layers import Attention
from jtransfer.layers.relative import RelativeBias, bucket
from jtransfer.layers.sinusoid import sinusoid

NEAR = [*range(1, 9)]
FIRSTS = {  # of transformers: the distance with which each further bucket begins
    (32, 128, True): [*NEAR, 12, 16, 23, 32, 46, 64, 91],
    (32, 128, False): [*range(1, 17), 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113],
    (8, 20, True): [1, 2, 7],
}


@pytest.mark.parametrize(("buckets", "furthest", "both_ways"), FIRSTS)
def test_buckets_begin_where_those_of_transformers_do(buckets, furthest, both_ways):
    behind = np.asarray(bucket(-jnp.arange(300), buckets, furthest, both_ways))
    np.testing.assert_array_equal(np.flatnonzero(np.diff(behind)) + 1, FIRSTS[buckets, furthest, both_ways])
    ahead = np.asarray(bucket(jnp.arange(1, 300), buckets, furthest, both_ways))
    np.testing.assert_array_equal(ahead, behind[1:] + buckets // 2 if both_ways else 0)


def test_the_bias_is_of_places_not_of_pieces():
    module = RelativeBias(4, 8, 20, both_ways=False)
    variables = module.init(jax.random.key(0), 9, 9)
    whole = module.apply(variables, 9, 9)
    assert whole.shape == (1, 4, 9, 9)
    np.testing.assert_array_equal(module.apply(variables, 2, 9, jnp.int32(5)), whole[:, :, 5:7])


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids_are_sines_then_cosines(width):
    table = sinusoid(50, width)
    assert table.shape == (50, width)
    half = (width + 1) // 2
    sines, cosines = table[:, :half], table[:, half:]
    np.testing.assert_allclose(sines[:, : width // 2] ** 2 + cosines**2, 1.0, rtol=1e-5)
    np.testing.assert_allclose(sines[:, 1], np.sin(np.arange(50) / 10000 ** (2 / width)), atol=1e-6)


def test_queries_may_start_smaller():
    x = jnp.ones((1, 3, 64))
    params = Attention(4, query_init=jax.nn.initializers.zeros).init(jax.random.key(0), x)["params"]
    assert not params["query"]["kernel"].any()
    assert params["key"]["kernel"].any()
