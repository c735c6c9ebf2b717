"""Adapters of weights other than LoRA: each begins as no change and merges into what it does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
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
ELSE = {
    "vera": ("grouped",),
    "randlora": ("grouped", "embed"),
    "fourierft": ("embed",),
    "boft": ("embed",),
    "ssf": ("grouped",),
}


@pytest.fixture(scope="module")
def plain():
    model, ids = Plain(), jax.random.randint(jax.random.key(0), (2, 36), 0, 30)
    variables = model.init(jax.random.key(1), ids)
    variables = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), variables)
    run = jax.jit(lambda variables: forward.apply(model, variables, ids)[0])
    return run, variables, peft.sites(model, variables, ids)


def moved(adapters, by=0.2):
    """The adapters with every trained number moved."""
    rng = np.random.default_rng(3)
    flat = {
        path: leaf if "/fixed/" in path else leaf + by * rng.standard_normal(leaf.shape, np.float32)
        for path, leaf in trees.flatten(adapters).items()
    }
    return trees.unflatten(flat)


def close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


ADDED = ("vera", "loha", "lokr", "randlora", "fourierft")  # to a kernel


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_to_a_kernel_is_scaled_and_combined(plain, name):
    run, variables, sites = plain
    modules = [module for module in MODULES if module not in ELSE.get(name, ())]
    first, second = (
        moved(peft.init(jax.random.key(2), [(module, name, METHODS[name]) for module in modules], sites, {}), by)
        for by in (0.2, -0.1)
    )

    def change(adapters):
        return jax.tree.map(jnp.subtract, peft.merge(variables["params"], adapters), variables["params"])

    scaled = peft.scale(first, -1.5)
    close(change(scaled), jax.tree.map(lambda x: -1.5 * x, change(first)), atol=1e-5)
    merged = {"params": peft.merge(variables["params"], scaled)}
    np.testing.assert_allclose(run({**variables, "adapters": scaled}), run(merged), atol=1e-4)
    assert jax.tree.map(jnp.shape, scaled) == jax.tree.map(jnp.shape, first)
    wanted = jax.tree.map(lambda x, y: 2 * x - 3 * y, change(first), change(second))
    close(change(peft.combine([first, second], (2, -3), params=variables["params"])), wanted, atol=1e-5)
    close(change(peft.combine([first, second], (2, -3), sites=sites, rank=108)), wanted, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_begins_as_no_change_and_merges_into_what_it_does(plain, name):
    run, variables, sites = plain
    modules = [module for module in MODULES + ("norm",) * (name == "ssf") if module not in ELSE.get(name, ())]
    rows = [(f"({'|'.join(modules)})", name, METHODS[name])]
    adapters = peft.init(jax.random.key(2), rows, sites, variables["params"])
    plain_y = run(variables)
    close(run({**variables, "adapters": adapters}), plain_y, 1e-6)
    changed = moved(adapters)
    alone = {module: {module: changed[module]} for module in modules}

    @jax.jit
    def merge(params, alone):
        merged = {module: peft.merge(params, one) for module, one in alone.items()}
        return merged, {module: peft.unmerge(merged[module], one) for module, one in alone.items()}

    merged, unmerged = merge(variables["params"], alone)
    for module in modules:
        apart = run({**variables, "adapters": {**adapters, **alone[module]}})
        assert np.abs(apart - plain_y).max() > 1e-3, module
        close(run({"params": merged[module]}), apart, 1e-4)
        close(unmerged[module], variables["params"], 1e-5)


@pytest.fixture(scope="module")
def bert_base():
    model = models.create("bert_base", 2)
    x = model.example_input(1)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    return variables, peft.sites(model, variables, x)


QV, KV = "layer_.*/attention/(query|value)", "layer_.*/attention/(key|value)"
OUT = "layer_.*/(attention/out|fc2)"


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([(QV, "vera", {"rank": 256})], 24_576),
        ([(QV, "loha", {"rank": 8})], 589_824),
        ([(QV, "lokr", {"rank": 8})], 26_112),
        ([(QV, "fourierft", {"n_frequency": 1000})], 24_000),
        ([(KV, "ia3", {}), (OUT, "ia3", {"on": "input"})], 64_512),
    ],
)
def test_counts_of_bert_base_are_those_of_the_reference(bert_base, rows, count):
    variables, sites = bert_base
    begun = jax.eval_shape(lambda params: peft.init(jax.random.key(1), rows, sites, params), variables["params"])
    assert sum(leaf.size for path, leaf in trees.flatten(begun).items() if "/fixed/" not in path) == count


def refused(says, sites, variables, *rows):
    with pytest.raises(InputError, match=says):
        jax.eval_shape(lambda params: peft.init(jax.random.key(1), rows, sites, params), variables["params"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("dense", "vera", {"rank": 0}), "rank=0 must be a whole number, from 1 to 65536"),
        (("dense", "vera", {"d_initial": float("nan")}), "d_initial=nan of 'vera' is of no kind"),
        (("dense", "vera", {"seed": -1}), "seed=-1 must be a whole number, from 0 to 4294967295"),
        (("dense", "vera", {"dropout": 1.0}), "dropout=1.0 must be at least 0 and below 1"),
        (("grouped", "vera", {}), "4 groups"),
        (("dense", "loha", {"rank": 2.5}), "rank=2.5 of 'loha' is of no kind"),
        (("dense", "loha", {"alpha": float("inf")}), "alpha=inf of 'loha' is of no kind"),
        (("dense", "lokr", {"decompose_factor": 0}), "decompose_factor=0"),
        (("dense", "ia3", {"on": "bias"}), "'output' or 'input'"),
        (("embed", "ia3", {"on": "input"}), "names of rows"),
        (("embed", "randlora", {}), "as large as its table"),
        (("dense", "fourierft", {"n_frequency": 49}), "more than the 48 numbers of dense's kernel"),
        (("embed", "fourierft", {}), "no frequencies"),
        (
            ("dense", "oft", {"block_size": 3}),
            "3 does not divide the 8 numbers that dense turns; nearest: 2, 4, 8",
        ),
        (("dense", "oft", {"neumann_terms": 1}), "neumann_terms=1 must be a whole number, at least 2"),
        (("dense", "boft", {"factors": 3, "block_size": 4}), "factors=3 of blocks of 4 can't turn the 8 inputs"),
        (("embed", "boft", {}), "use oft"),
        (("norm", "lokr", {}), "LayerNorm"),
    ],
)
def test_a_row_that_can_not_be_is_one_line(plain, row, says):
    refused(says, plain[2], plain[1], row)


def test_what_is_added_to_a_kernel_by_the_kernel_stands_alone(plain):
    lora = ("conv|dense|pointwise", "lora", {"rank": 1})
    peft.plan([lora, ("dense|pointwise", "oft", {})], plain[2])
    refused("'oft' of conv can't be merged beside lora", plain[2], plain[1], lora, ("conv", "oft", {}))


def test_a_shift_needs_a_bias_and_a_factor_of_zero_has_no_way_back(plain):
    _, variables, sites = plain
    ssf = peft.init(jax.random.key(0), [("grouped", "ssf", {})], sites, variables["params"])
    close(peft.merge(variables["params"], ssf), variables["params"], 0)
    with pytest.raises(InputError, match="no bias for the shift"):
        peft.merge(variables["params"], moved(ssf))
    ia3 = {"dense": {"ia3": {"output": jnp.zeros(6)}}}
    with pytest.raises(InputError, match="no way back"):
        peft.unmerge(variables["params"], ia3)


class Scanned(nn.Module):
    """Layers in a scan, each computed again for the gradient."""

    @nn.compact
    def __call__(self, x):
        class Layer(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                x = nn.LayerNorm(name="norm")(nn.Dense(8, name="dense")(x))
                return nn.tanh(x), None

        axes = {"params": 0, "adapters": 0}
        layers = nn.scan(nn.remat(Layer), variable_axes=axes, split_rngs={"params": True}, length=3)
        return layers(name="layers")(x, None)[0]


def test_all_methods_at_once_in_a_scan_train_their_own_leaves_and_merge():
    model, x = Scanned(), jax.random.normal(jax.random.key(0), (2, 8))
    params = model.init(jax.random.key(1), x)["params"]
    rows = [("layers/dense", name, fields) for name, fields in METHODS.items()] + [("layers/norm", "ssf", {})]
    sites = peft.sites(model, {"params": params}, x)
    adapters = jax.jit(lambda params: peft.init(jax.random.key(2), rows, sites, params))(params)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(adapters)} == {3}
    flat = trees.flatten(moved(adapters, 0.1))
    fixed = {path: leaf for path, leaf in flat.items() if "/fixed/" in path}
    begun = {path: leaf for path, leaf in flat.items() if path not in fixed}

    @jax.jit
    def compute(params, trained):
        def run(trained):
            variables = {"params": params, "adapters": trees.unflatten(fixed | trained)}
            return forward.apply(model, variables, x)[0]

        grads = jax.grad(lambda trained: jnp.square(run(trained) - 1).mean())(trained)
        tree = trees.unflatten(fixed | trained)
        merged = peft.merge(params, tree)
        plain = forward.apply(model, {"params": merged}, x)[0]
        return run(trained), plain, peft.unmerge(merged, tree), grads

    y, plain, unmerged, grads = compute(params, begun)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in grads.values())
    close(plain, y, 1e-5)
    close(unmerged, params, 1e-4)


def test_a_layer_in_bfloat16_stays_one():
    class Low(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3), dtype=jnp.bfloat16, name="conv")(x)
            return nn.Dense(4, dtype=jnp.bfloat16, name="dense")(x)

    model, x = Low(), jnp.ones((1, 4, 4, 4), jnp.bfloat16)
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    sites = peft.sites(model, {"params": params}, x)
    for name, fields in METHODS.items():
        rows = [("conv|dense", name, fields)]
        begun = jax.eval_shape(lambda params, rows=rows: peft.init(jax.random.key(1), rows, sites, params), params)
        y = jax.eval_shape(lambda v: forward.apply(model, v, x)[0], {"params": params, "adapters": begun})
        trained = {leaf.dtype for path, leaf in trees.flatten(begun).items() if "/fixed/" not in path}
        assert (y.dtype, trained) == (jnp.bfloat16, {jnp.dtype(jnp.float32)}), name
