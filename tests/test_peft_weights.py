"""Adapters of weights other than LoRA: each begins as no change and merges into what it does."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jtransfer import peft
from jtransfer.core import tree as trees
from jtransfer.models import forward

METHODS = {
    "vera": {"rank": 3},
    "loha": {"rank": 2, "alpha": 3.0},
    "lokr": {"rank": 1, "alpha": 2.0},
    "ia3": {},
    "randlora": {"rank": 2, "alpha": 2.0},
    "fourierft": {"n_frequency": 9, "scaling": 30.0},
    "oft": {},
    "boft": {},
    "ssf": {},
}


class Plain(nn.Module):
    """A module of a user's: layers of several kinds, without and with groups, windows, strides and several axes."""

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(30, 12, name="embed")(ids).reshape(2, 6, 6, 12)
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, name="conv")(x))
        x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=4, use_bias=False, name="grouped")(x))
        x = nn.relu(nn.Conv(8, (1, 1), name="pointwise")(x))
        x = nn.DenseGeneral((2, 4), axis=(-3, -1), name="heads")(x)
        x = nn.LayerNorm(name="norm")(x)
        return nn.Dense(6, name="dense")(x.reshape(2, 3, 8))


MODULES = ("embed", "conv", "grouped", "pointwise", "heads", "dense")
PARTLY = {"vera": ("grouped",), "randlora": ("grouped", "embed"), "fourierft": ("embed",), "boft": ("embed",)}


@pytest.fixture(scope="module")
def plain():
    model, ids = Plain(), jax.random.randint(jax.random.key(0), (2, 36), 0, 30)
    variables = model.init(jax.random.key(1), ids)
    variables = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), variables)
    run = jax.jit(lambda variables: forward.apply(model, variables, ids)[0])
    return run, variables, peft.sites(model, variables, ids)


def served(name):
    return [module for module in MODULES if module not in PARTLY.get(name, ())]


def moved(adapters, by=0.2):
    """The adapters with every trained number moved."""
    flat = trees.flatten(adapters)
    keys = jax.random.split(jax.random.key(3), len(flat))
    return trees.unflatten(
        {
            path: leaf if "/fixed/" in path else leaf + by * jax.random.normal(key, leaf.shape)
            for key, (path, leaf) in zip(keys, flat.items(), strict=True)
        }
    )


def close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_begins_as_no_change_and_merges_into_what_it_does(plain, name):
    run, variables, sites = plain
    rows = [(f"({'|'.join(served(name))})", name, METHODS[name])]
    adapters = peft.init(jax.random.key(2), rows, sites, variables["params"])
    plain_y = run(variables)
    close(run({**variables, "adapters": adapters}), plain_y, 1e-6)
    changed = moved(adapters)
    y = run({**variables, "adapters": changed})
    if name == "ssf":
        changed["grouped"]["ssf"]["shift"] *= 0
        y = run({**variables, "adapters": changed})
    for module in served(name):
        one = {**adapters, module: changed[module]}
        merged = peft.merge(variables["params"], {module: changed[module]})
        apart = run({**variables, "adapters": one})
        assert np.abs(apart - plain_y).max() > 1e-3, module
        close(run({"params": merged}), apart, 1e-4)
        close(peft.unmerge(merged, {module: changed[module]}), variables["params"], 1e-5)
    close(run({"params": peft.merge(variables["params"], changed)}), y, 2e-4)
