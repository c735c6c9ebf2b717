"""Adapters of any Linen module: what is found, what begins as no change, what is merged."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward


def trained(adapters):
    """The number of parameters that an adapter trains."""
    return sum(leaf.size for path, leaf in trees.flatten(adapters).items() if "/fixed/" not in path)


def shapes_of(model, rows):
    x = model.example_input(1)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    sites = peft.sites(model, variables, x)
    return jax.eval_shape(lambda params: peft.init(jax.random.key(1), rows, sites, params), variables["params"])


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("layer_.*/attention/(query|value)/kernel", 294_912)],
)
def test_counts_of_bert_base_are_those_of_the_reference(pattern, count):
    assert trained(shapes_of(models.create("bert_base", 2), [(pattern, "lora", {"rank": 8})])) == count


class Plain(nn.Module):
    """A module of a user's: no stages, layers of several kinds."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (3, 3), name="conv")(x))
        x = nn.DenseGeneral((2, 4), axis=(-2, -1), name="heads")(x)
        return nn.Dense(3, name="dense")(x.reshape(*x.shape[:2], -1))


def adapted(rows):
    model, x = Plain(), jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    variables = model.init(jax.random.key(1), x)
    sites = peft.sites(model, variables, x)
    adapters = peft.init(jax.random.key(2), rows, sites, variables["params"])
    return model, x, variables, adapters


def test_an_adapter_begins_as_no_change_and_merges_into_what_it_does():
    model, x, variables, adapters = adapted([(".*", "lora", {"rank": 2, "alpha": 3.0})])
    before, _ = forward.apply(model, variables, x)
    begun, _ = forward.apply(model, {**variables, "adapters": adapters}, x)
    np.testing.assert_array_equal(begun, before)
    moved = jax.tree.map(lambda y: y + 0.3 * jax.random.normal(jax.random.key(3), y.shape) * (y.ndim > 0), adapters)
    after, _ = forward.apply(model, {**variables, "adapters": moved}, x)
    assert np.abs(after - before).max() > 0.1
    merged = peft.merge(variables["params"], moved)
    np.testing.assert_allclose(forward.apply(model, {"params": merged}, x)[0], after, atol=1e-5)
    back = peft.unmerge(merged, moved)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), back, variables["params"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("dence", "lora", {}), "matches no module; nearest: dense"),
        (("dense", "lore", {}), "unknown adapter 'lore'"),
        (("dense", "lora", {"rnak": 8}), "unknown field of the adapter 'lora': 'rnak'; nearest: rank"),
        (("dense", "lora", {"rank": 0}), "rank=0 must be a whole number"),
        (("dense", "lora", {"dropout": 1.0}), "dropout=1.0 must be at least 0 and below 1"),
        (("(", "lora", {}), "not a regular expression"),
        (("dense",), "no row"),
    ],
)
def test_a_row_that_can_not_be_is_one_line(row, says):
    with pytest.raises(InputError, match=says):
        adapted([row])


def test_a_scan_over_layers_is_adapted_layer_by_layer():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.tanh(nn.Dense(4, name="dense")(x)), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            axes = {"params": 0, "adapters": 0}
            return nn.scan(Layer, variable_axes=axes, split_rngs={"params": True}, length=3)(name="layers")(x, None)[0]

    model, x = Scanned(), jnp.ones((2, 4))
    variables = model.init(jax.random.key(1), x)
    sites = peft.sites(model, variables, x)
    adapters = peft.init(jax.random.key(2), [("layers/dense", "lora", {"rank": 2})], sites, variables["params"])
    own = adapters["layers"]["dense"]["lora"]
    assert (own["a"].shape, own["b"].shape) == ((3, 4, 2), (3, 2, 4))
    own["b"] = jax.random.normal(jax.random.key(3), own["b"].shape)
    y, _ = forward.apply(model, {**variables, "adapters": adapters}, x)
    merged = peft.merge(variables["params"], adapters)
    np.testing.assert_allclose(forward.apply(model, {"params": merged}, x)[0], y, atol=1e-6)
