"""Which units of a network may be permuted, and the order in which one network's are nearest to another's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models
from jtransfer.core import tree as trees
from jtransfer.fusing.aligning import groups_of
from jtransfer.fusion import fuse, matching, permutations
from jtransfer.models import forward

NETWORKS = {
    "mlp": {"widths": (12, 7, 5)},
    "resnet18": {"depths": (1, 1), "image_size": 16},
    "vgg11": {"depths": (1, 1, 1, 1, 1), "image_size": 32, "include_top": False, "head_width": 16},
}


def network(name, fields, seed=0):
    """(model, random variables, a function to its output)"""
    model = models.create(name, 3, **fields)
    x = model.example_input(1)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x))
    rng = np.random.default_rng(seed)
    variables = jax.tree.map(lambda leaf: 0.1 + 0.2 * np.abs(rng.normal(size=leaf.shape)).astype(np.float32), shapes)
    signs = jax.tree.map(lambda leaf: rng.choice([-1, 1], leaf.shape).astype(np.float32), shapes["params"])
    variables["params"] = jax.tree.map(np.multiply, variables["params"], signs)
    x = rng.normal(size=x.shape).astype(np.float32)
    return model, variables, jax.jit(lambda variables: forward.apply(model, variables, x)[0])


@pytest.fixture(scope="module", params=NETWORKS)
def permuted(request):
    """(variables, the same in a random order, that put back, a function to the output)"""
    model, variables, run = network(request.param, NETWORKS[request.param])
    groups = groups_of(model, variables)
    rng = np.random.default_rng(1)
    orders = [rng.permutation(group.size) for group in groups]
    moved = permutations.permute(variables, groups, orders)
    back = permutations.permute(moved, groups, matching.match(variables, moved, groups))
    return variables, moved, back, run


def test_any_order_of_units_computes_the_same(permuted):
    variables, moved, _, run = permuted
    np.testing.assert_allclose(run(moved), run(variables), rtol=1e-3, atol=1e-4)
    flat, other = trees.flatten(variables), trees.flatten(moved)
    assert {path for path in flat if (flat[path] == other[path]).all()} == {"params/head/dense/bias"}


def test_a_permuted_network_is_put_back_exactly(permuted):
    variables, _, back, _ = permuted
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_the_average_of_a_network_and_its_permutation_is_the_network_once_they_are_aligned(permuted):
    variables, moved, back, run = permuted
    np.testing.assert_allclose(run(fuse([variables, back])), run(variables), rtol=1e-4, atol=1e-5)
    assert np.abs(run(fuse([variables, moved])) - run(variables)).max() > 1e-3


def test_a_map_that_is_flattened_repeats_its_units():
    def apply(v, x):
        y = jax.lax.conv_general_dilated(x, v["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.relu(y).reshape(len(y), -1) @ v["dense"]

    rng = np.random.default_rng(0)
    v = {"conv": rng.normal(size=(3, 3, 2, 5)), "dense": rng.normal(size=(4 * 4 * 5, 3))}
    x = jnp.asarray(rng.normal(size=(2, 4, 4, 2)), jnp.float32)
    (group,) = permutations.groups(apply, v, x)
    assert set(group.places) == {("conv", 3, 1), ("dense", 0, 16)}
    moved = permutations.permute(v, [group], [rng.permutation(5)])
    np.testing.assert_allclose(apply(moved, x), apply(v, x), atol=1e-5)
    (order,) = matching.match(v, moved, [group])
    back = permutations.permute(moved, [group], [order])
    np.testing.assert_array_equal(back["dense"], v["dense"])


@pytest.mark.parametrize(
    "apply",
    [
        lambda v, x: jnp.cumsum(x @ v["a"], -1) @ v["b"],  # an operation that is not known
        lambda v, x: (x @ v["a"]).reshape(-1, 2, 3).sum(1) @ v["b"][:3],  # units that are cut into several axes
        lambda v, x: (x @ v["a"])[:, :3] @ v["b"][:3],
        lambda v, x: (x @ v["a"] * jnp.arange(6.0)) @ v["b"],  # a constant that tells them apart
        lambda v, x: jnp.argmax(x @ v["a"], -1)[:, None] * v["b"][:1],
        lambda v, x: x @ v["a"],  # the output
    ],
)
def test_what_depends_on_the_order_fixes_it(apply):
    v, x = {"a": np.ones((4, 6)), "b": np.ones((6, 2))}, np.ones((1, 4))
    for group in permutations.groups(apply, v, x):
        assert ("a", 1) not in {place[:2] for place in group.places}


@pytest.mark.parametrize(
    ("name", "fields", "fixed"),
    [
        ("resnet18d", {"depths": (1, 1), "image_size": 16}, ()),
        ("vit_tiny_patch16", {"depth": 1, "image_size": 32}, ("query/bias", "key/bias", "value/bias")),
    ],
)
def test_whole_residual_streams_are_found(name, fields, fixed):
    _, variables, run = network(name, fields)
    groups = groups_of(models.create(name, 3, **fields), variables)
    rng = np.random.default_rng(1)
    moved = permutations.permute(variables, groups, [rng.permutation(group.size) for group in groups])
    np.testing.assert_allclose(run(moved), run(variables), rtol=1e-3, atol=1e-4)
    places = {place.path for group in groups for place in group.places}
    assert {path for path in trees.flatten(variables) if path not in places and not path.endswith(fixed or "-")} == {
        "params/head/dense/bias"
    }
