"""The one forward pass: outputs of any stages at once, of any Linen module, and interceptors told by the variables."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jtransfer import models
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.training import optim, state, step

SAME = pytest.mark.parametrize("scan", [False, True])


def chain(scan=False, width=8):
    """A perceptron of three equal layers, its variables and four vectors."""
    model = models.create("mlp", 3, num_features=width, widths=(width,) * 3, scan=scan)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input())
    return model, variables, jax.random.normal(jax.random.key(1), (4, width))


def by_hand(variables, x, added=None):
    """What each stage of `chain` returns, with NumPy."""
    found, params = {}, jax.device_get(variables["params"])
    for name in ("hidden1", "hidden2", "hidden3", "head"):
        layer, before = params[name]["dense"], np.asarray(x, np.float64)
        x = before @ layer["kernel"] + layer["bias"]
        if added and name in added:
            x = x + before @ added[name]["a"] @ added[name]["b"]
        x = x if name == "head" else np.maximum(x, 0)
        found[name] = x
    return found


def assert_near(found, expected):
    assert set(found) == set(expected)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def products(function, *given):
    """How many matrix products a function computes, those in loops as often as they run."""

    def count(jaxpr):
        total = 0
        for eqn in jaxpr.eqns:
            inner = [part for part in jax.tree.leaves(list(eqn.params.values())) if hasattr(part, "jaxpr")]
            total += (eqn.primitive.name == "dot_general") + eqn.params.get("length", 1) * sum(
                count(part.jaxpr) for part in inner
            )
        return total

    return count(jax.make_jaxpr(function)(*given).jaxpr)


@SAME
def test_one_pass_gives_the_outputs_of_several_stages(scan):
    model, variables, x = chain(scan)
    names = ("hidden1", "hidden3", "head")
    found, changed = forward.apply(model, variables, x, outputs=names)
    expected = by_hand(variables, x)
    assert changed == {}
    assert_near(found, {name: expected[name] for name in names})
    assert products(lambda x: forward.apply(model, variables, x, outputs=names)[0], x) == 4
    for name, following in zip(model.stages, model.stages[1:], strict=False):
        stopped, _ = forward.apply(model, variables, x, stop=following)
        np.testing.assert_allclose(stopped, expected[name], rtol=1e-5, atol=1e-6)


@SAME
def test_a_part_of_a_chain_gives_the_outputs_of_its_stages(scan):
    model, variables, x = chain(scan)
    expected = by_hand(variables, x)
    found, _ = forward.apply(
        model, variables, expected["hidden1"], start="hidden2", stop="head", outputs=("hidden2", "hidden3")
    )
    assert_near(found, {name: expected[name] for name in ("hidden2", "hidden3")})
    with pytest.raises(InputError, match="unknown output stage 'hidden1'"):
        forward.apply(model, variables, x, start="hidden2", outputs=("hidden1",))


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(5, name="dense")(x))


class Plain(nn.Module):
    """No chain of stages: a block in a block, called twice, and a head."""

    def setup(self):
        self.block, self.head = Inner(), nn.Dense(2)
        self.unused = nn.Dense(1)

    def __call__(self, x):
        return self.head(self.block(self.block(x)))


def test_of_a_plain_module_outputs_are_those_of_its_submodules():
    model, x = Plain(), jax.random.normal(jax.random.key(1), (3, 5))
    variables = forward.initialize(model, jax.random.key(0), x)
    assert set(variables) == {"params"}
    found, changed = forward.apply(model, variables, x, outputs=("block", "block/dense", "head"))
    params = jax.device_get(variables["params"])
    dense = params["block"]["dense"]
    once = np.asarray(x) @ dense["kernel"] + dense["bias"]
    twice = np.tanh(np.tanh(once) @ dense["kernel"] + dense["bias"])
    expected = {"block": np.tanh(once), "block/dense": once}  # the first call's
    assert_near(found, expected | {"head": twice @ params["head"]["kernel"] + params["head"]["bias"]})
    assert changed == {}
    with pytest.raises(InputError, match="'unused' is no submodule that the model calls"):
        forward.apply(model, variables, x, outputs=("unused",))
    with pytest.raises(InputError, match="Plain has no stages to start or stop at"):
        forward.apply(model, variables, x, stop="head")


@pytest.mark.parametrize(
    ("name", "off"), [("train", False), ("training", False), ("is_training", False), ("deterministic", True)]
)
def test_a_module_is_told_in_its_own_word_whether_this_is_training(name, off):
    scope = {"nn": nn, "jnp": jnp}
    exec(f"class Told(nn.Module):\n    def __call__(self, x, {name}):\n        return x * {name}", scope)
    model = scope["Told"]()
    assert float(forward.apply(model, {}, jnp.ones(()), train=False)[0]) == float(off)
    assert float(forward.apply(model, {}, jnp.ones(()), train=True)[0]) == float(not off)


def low_rank(adapters):
    """Adds `x a b` to dense layers, as the variables of the collection say: {module: {"dense": {"a", "b"}}}."""

    def interceptor(call, args, kwargs, context):
        node = adapters
        for key in context.module.path:
            node = node.get(key, {})
        out = call(*args, **kwargs)
        is_theirs = context.method_name == "__call__" and isinstance(context.module, nn.Dense) and "a" in node
        return out + args[0] @ node["a"] @ node["b"] if is_theirs else out

    return nn.intercept_methods(interceptor)


def adapters_of(names, width=8, outs=3):
    keys = iter(jax.random.split(jax.random.key(2), 2 * len(names)))
    shapes = {name: ((width, 2), (2, outs if name == "head" else width)) for name in names}
    return {
        name: {"dense": {"a": jax.random.normal(next(keys), a) * 0.3, "b": jax.random.normal(next(keys), b) * 0.3}}
        for name, (a, b) in shapes.items()
    }


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(forward.INTERCEPTORS, "adapters", low_rank)


@SAME
@pytest.mark.parametrize("names", [("hidden2",), ("hidden1", "hidden2", "hidden3"), ("head",)])
def test_a_collection_enters_its_interceptor(names, scan, registered):
    model, variables, x = chain(scan)
    adapters = adapters_of(names)
    found, _ = forward.apply(model, {**variables, "adapters": adapters}, x, outputs=model.stages)
    added = {name: jax.device_get(layer["dense"]) for name, layer in adapters.items()}
    assert_near(found, by_hand(variables, x, added))
    without, _ = forward.apply(model, variables, x, outputs=model.stages)
    assert_near(without, by_hand(variables, x))


def test_adapters_of_no_known_method_are_refused():
    model, variables, x = chain()
    with pytest.raises(InputError, match="adapters/head/dense/a belongs to no known adapter; known are "):
        forward.apply(model, {**variables, "adapters": adapters_of(("head",))}, x, outputs=model.stages)


def test_the_interceptor_is_left_with_the_call(registered):
    model, variables, x = chain()
    with contextlib.suppress(InputError):
        forward.apply(model, {**variables, "adapters": adapters_of(("head",))}, x, outputs=("none",))
    assert_near({"head": model.apply(variables, x)}, {"head": by_hand(variables, x)["head"]})


def training(model, variables, spec):
    """(state, train step) over all collections, of which `spec` is trained."""
    mask = rules.trainable(spec, variables, model.stages)
    changes = {**small.OPTIM, "warmup": 0, "layer_decay": 1.0, "schedule": "constant"}
    tx = optim.make(changes, variables, total_steps=40, trainable=mask, stages=model.stages)
    train_step = step.make_train_step(model, tx, small.OBJECTIVE, trainable=mask)
    return lambda v: state.create(v, mask, tx, seed=0), train_step


def batch(x):
    return {"inputs": x, "label": jnp.arange(len(x)) % 3, "mask": jnp.ones(len(x), bool)}


@SAME
def test_adapters_are_trained_by_a_rule_and_all_else_is_frozen(scan, registered):
    model, variables, x = chain(scan)
    variables = {**variables, "adapters": adapters_of(("hidden2", "head"))}
    create, train_step = training(model, variables, "adapters/.*")
    begun = create(variables)
    assert set(begun.trainable) == {"adapters"}
    assert set(begun.frozen) == {"params"}
    moments = [leaf for leaf in jax.tree.leaves(begun.opt_state) if leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * trees.count(variables["adapters"])
    ended, losses = begun, []
    jitted = jax.jit(train_step)
    for _ in range(40):
        ended, metrics = jitted(ended, batch(x))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    for path, leaf in trees.flatten(ended.frozen["params"]).items():
        np.testing.assert_array_equal(leaf, trees.flatten(variables["params"])[path], err_msg=path)
    for path, leaf in trees.flatten(ended.trainable["adapters"]).items():
        assert (leaf != trees.flatten(variables["adapters"])[path]).any(), path


def flops(names, spec):
    """Of a train step on 512 vectors of 512 numbers, in units of one layer's matrix product."""
    model = models.create("mlp", 3, num_features=512, widths=(512,) * 3)
    variables = jax.eval_shape(model.init, jax.random.key(0), model.example_input())
    variables = {**variables, **({"adapters": jax.eval_shape(lambda: adapters_of(names, 512))} if names else {})}
    create, train_step = training(model, variables, spec)
    x = jax.ShapeDtypeStruct((512, 512), jnp.float32)
    compiled = jax.jit(train_step).lower(jax.eval_shape(create, variables), jax.eval_shape(batch, x)).compile()
    return compiled.cost_analysis()["flops"] / (2 * 512**3)


def test_a_frozen_trunk_has_no_backward_pass(registered):
    """Three layers forwards are 3; the gradient of what goes through a layer is 1, that of its parameters 1 more."""
    assert flops((), "head/.*") == pytest.approx(3, abs=0.2)
    assert flops(("head",), "adapters/.*") == pytest.approx(3, abs=0.2)
    assert flops(("hidden3",), "adapters/.*") == pytest.approx(3, abs=0.3)
    assert flops(("hidden1",), "adapters/.*") == pytest.approx(5, abs=0.3)
    assert flops(("hidden1",), ".*") == pytest.approx(8, abs=0.4)


def test_adapters_are_trained_unless_a_rule_is_about_them():
    _, variables, _ = chain()
    variables = {**variables, "adapters": adapters_of(("head",))}
    mask = rules.trainable("head/.*", variables["params"], ())
    moving, frozen, rest = state.split(variables, mask)
    assert set(moving) == {"params", "adapters"}
    assert set(moving["params"]) == {"head"}
    assert (set(frozen), rest) == ({"params"}, {})
    moving, frozen, _ = state.split(variables, rules.trainable([("adapters/.*", False), (".*", True)], variables, ()))
    assert (set(moving), set(frozen)) == ({"params"}, {"adapters"})
