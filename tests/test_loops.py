"""The pieces in a loop of a user's own: what the user holds stays, a part of a config will do, and NNX is a module."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jtransfer import config as configs
from jtransfer import models, objectives, optim, rules, state, step
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.models.from_nnx import from_nnx

PARAMS = {"body": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "head": {"kernel": jnp.ones((2, 2))}}
BATCH = {
    "inputs": jax.random.normal(jax.random.key(1), (8, 4)),
    "label": jnp.arange(8) % 3,
    "mask": jnp.ones(8, bool),
}


def alive(tree):
    return not any(leaf.is_deleted() for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("ema", [False, True])
def test_a_donated_state_takes_nothing_of_the_users(ema):
    variables = jax.tree.map(jnp.copy, {"params": PARAMS})
    mask = rules.match([("body/.*", True), (".*", False)], PARAMS)
    tx = optim.make({}, variables, total_steps=9, trainable={"params": mask})
    donated = jax.jit(lambda s: s.replace(step=s.step + 1), donate_argnums=0)
    first = state.create(variables, mask, tx, seed=0, ema=ema)
    second = state.repartition(first, rules.match([(".*", True)], PARAMS), tx, lambda old, new: new)
    assert donated(donated(second)).step == 2
    assert alive(first)
    donated(first)
    assert not alive(first)
    assert alive(variables)


def test_an_optimizer_that_keeps_the_parameters_may_be_donated():
    def init(params):
        return {"slow": params}

    tx = optax.GradientTransformation(init, lambda updates, state, params=None: (updates, state))
    current = state.create({"params": PARAMS}, jax.tree.map(lambda _: True, PARAMS), tx, seed=0)
    after = jax.jit(lambda s: s.replace(step=s.step + 1), donate_argnums=0)(current)
    assert alive(after)
    assert alive(PARAMS)


def test_in_a_program_nothing_is_copied():
    tx = optim.make({}, {"params": PARAMS}, total_steps=9)
    mask = jax.tree.map(lambda _: True, PARAMS)
    text = str(jax.make_jaxpr(lambda v: state.create(v, mask, tx, seed=0))({"params": PARAMS}))
    assert "copy" not in text


def test_what_an_optimizer_is_not_told_is_as_in_a_config():
    own = configs.default().optim.to_dict()
    assert {name: trees.as_tuples(value) for name, value in optim.DEFAULTS.items()} == own
    given, whole = {"lr": 0.1, "name": "sgd"}, configs.default().optim
    whole.update(given)
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    made = [optim.make(how, PARAMS, total_steps=9) for how in (given, whole)]
    one, two = (tx.update(grads, tx.init(PARAMS), PARAMS)[0] for tx in made)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    with pytest.raises(InputError, match=r"unknown field of optim 'lrate'; nearest: .*rate"):
        optim.make({"lrate": 1.0}, PARAMS, total_steps=9)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(nnx.relu(self.norm(self.dense(x))))


class Net(nnx.Module):
    def __init__(self, num_classes, rngs):
        self.blocks = nnx.List([Block(rngs), Block(rngs)])
        self.head = nnx.Linear(4, num_classes, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.fixture(scope="module")
def trained():
    """A module of NNX, its variables as pure dicts, and those after five steps, with its first block frozen."""
    net = Net(3, nnx.Rngs(0))
    kinds = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
    variables = {name: nnx.to_pure_dict(nnx.state(net, kind)) for name, kind in kinds.items()}
    mask = rules.match([("blocks/0/.*", False), (".*", True)], variables["params"])
    tx = optim.make({"lr": 0.1}, {"params": variables["params"]}, total_steps=5, trainable={"params": mask})
    model = from_nnx(Net, 3)
    train_step = jax.jit(step.make_train_step(model, tx, objectives.create("softmax"), trainable=mask))
    current = state.create(variables, mask, tx, seed=0)
    for _ in range(5):
        current, _ = train_step(current, BATCH)
    return net, model, variables, current.variables()


def test_rules_keep_the_numbers_of_an_nnx_tree(trained):
    params = trained[2]["params"]
    mask = rules.match([(r"blocks/1/dense/kernel", True), (".*", False)], params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)
    assert mask["blocks"][1]["dense"] == {"kernel": True, "bias": False}
    assert trees.unflatten(trees.flatten(params)) == params
    rates = optim.make({"name": "sgd", "rates": (("head/.*", 2.0), (".*", 1.0))}, params, total_steps=9, trainable=mask)
    updates, _ = rates.update(jax.tree.map(jnp.ones_like, params), rates.init(params), params)
    moved = jax.tree.map(lambda leaf: bool(jnp.any(leaf != 0)), updates)
    assert moved == mask


def test_an_nnx_module_is_trained_by_our_step(trained):
    _, _, before, after = trained
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), before, after)
    assert all(jax.tree.leaves([same["params"]["blocks"][0], same["batch_stats"]["blocks"][0]]))
    assert not any(jax.tree.leaves([same["params"]["blocks"][1], same["params"]["head"]]))
    assert not any(jax.tree.leaves(same["batch_stats"]["blocks"][1]))


def test_an_nnx_module_computes_what_it_does_itself(trained):
    net, model, before, after = trained
    for variables in (before, after):
        for kind in ("params", "batch_stats"):
            nnx.update(net, variables[kind])
        net.eval()
        logits = step.make_eval_step(model)(variables, BATCH)["logits"]
        np.testing.assert_allclose(logits, net(BATCH["inputs"]), rtol=1e-5, atol=1e-6)


def test_frozen_parts_of_an_nnx_module_stand_still(trained):
    _, model, variables, _ = trained
    still, _ = forward.apply(model, variables, BATCH["inputs"], train=True, is_frozen=lambda path: True)
    evaluated, _ = forward.apply(model, variables, BATCH["inputs"])
    np.testing.assert_array_equal(still, evaluated)
    rngs, mutable = {"dropout": jax.random.key(0)}, ["batch_stats"]
    moving, changed = forward.apply(model, variables, BATCH["inputs"], train=True, rngs=rngs, mutable=mutable)
    assert not np.array_equal(moving, evaluated)
    assert not np.array_equal(changed["batch_stats"]["blocks"][0]["norm"]["mean"], jnp.zeros(4))


def test_a_checkpoint_has_texts_for_the_numbers(trained):
    _, model, variables, _ = trained

    def texts(tree):
        return {str(key): texts(leaf) for key, leaf in tree.items()} if isinstance(tree, dict) else tree

    ours, theirs = (forward.apply(model, tree, BATCH["inputs"])[0] for tree in (variables, texts(variables)))
    np.testing.assert_array_equal(ours, theirs)


def test_an_nnx_class_has_an_address(tmp_path):
    (tmp_path / "net.py").write_text(
        "from flax import nnx\n\n\nclass Net(nnx.Module):\n    def __init__(self, num_classes, rngs):\n"
        "        self.head = nnx.Linear(4, num_classes, rngs=rngs)\n\n"
        "    def __call__(self, x):\n        return self.head(x)\n"
    )
    model = models.create(f"{tmp_path}/net.py:Net", num_classes=5)
    variables = forward.initialize(model, jax.random.key(0), BATCH["inputs"])
    assert forward.apply(model, variables, BATCH["inputs"])[0].shape == (8, 5)
