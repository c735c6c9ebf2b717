"""Stages as one loop and stages computed again: the same numbers, smaller programs; what differs stays apart."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models
from jtransfer.core import tree as trees
from jtransfer.layers.frozen import freeze, frozen_modules
from jtransfer.weights import libraries

TEXT = {"vocab_size": 61, "width": 8, "depth": 4, "num_heads": 2, "mlp_dim": 12}
IMAGE = {"image_size": 32, "width": 8, "depth": 4, "num_heads": 2, "mlp_dim": 12}
MODELS = {
    "bert_base": TEXT,
    "gpt2": TEXT,
    "t5_small": TEXT | {"head_dim": 4},
    "bart_base": TEXT | {"max_length": 16},
    "vit_base_patch16": IMAGE,
    "clip_base_patch16": {"vocab_size": 61, "max_length": 8, "end": 60}
    | IMAGE
    | {f"text_{key}": IMAGE[key] for key in IMAGE if key != "image_size"}
    | {"vocab_size": 61},
}


@functools.cache
def tiny(name, **fields):
    model = models.create(name, 5, **MODELS[name])
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input())
    return model.clone(**fields), variables["params"]


def inputs(model):
    shapes = model.example_input(2)
    keys = iter(jax.random.split(jax.random.key(1), 4))
    return jax.tree.map(
        lambda x: (
            jax.random.normal(next(keys), x.shape)
            if x.dtype == jnp.float32
            else jax.random.randint(next(keys), x.shape, 1, 61).at[:, -1].set(60)
        ),
        shapes,
    )


def loss(model, params, **more):
    return jnp.square(model.apply({"params": params}, inputs(model), **more)).mean()


def scans(function, *given):
    """The lengths of the scans in what a function computes."""
    return [eqn.params["length"] for eqn in jax.make_jaxpr(function)(*given).eqns if eqn.primitive.name == "scan"]


def assert_near(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


BOTH = {"scan": True, "remat": True}


@pytest.mark.parametrize(
    ("name", "fields"),
    [("bert_base", {"scan": True}), ("bert_base", {"remat": True}), *((name, BOTH) for name in MODELS)],
    ids=str,
)
def test_outputs_and_gradients_are_those_of_the_plain_model(name, fields):
    (plain, params), (model, _) = tiny(name), tiny(name, **fields)
    assert trees.flatten(jax.eval_shape(model.init, jax.random.key(0), inputs(model))["params"]).keys() == set(
        trees.flatten(params)
    )
    expected = jax.jit(jax.value_and_grad(functools.partial(loss, plain)))(params)
    assert_near(jax.jit(jax.value_and_grad(functools.partial(loss, model)))(params), expected)
    if "scan" in fields:
        assert set(scans(functools.partial(loss, model), params)) == {4}
    if "remat" in fields:
        assert "remat" in str(jax.make_jaxpr(jax.grad(functools.partial(loss, model)))(params))


def test_the_program_of_a_loop_does_not_grow_with_the_depth():
    def lines(depth, **fields):
        model = models.create("bert_base", 5, **TEXT | {"depth": depth}, **fields)
        params = jax.eval_shape(model.init, jax.random.key(0), model.example_input())["params"]
        return len(jax.jit(jax.grad(functools.partial(loss, model))).lower(params).as_text().splitlines())

    plain, scanned = (lines(12, **fields) - lines(4, **fields) for fields in ({}, {"scan": True}))
    assert scanned < plain / 5  # what is left stacks the parameters and takes their gradients apart


def test_what_is_computed_again_is_not_kept():
    def kept(**fields):
        model, params = tiny("bert_base", **fields)
        _, back = jax.vjp(functools.partial(loss, model), params)
        return sum(leaf.size for leaf in jax.tree.leaves(back))

    weights = trees.count(tiny("bert_base")[1])
    assert kept(remat=True) - weights < (kept() - weights) / 3
    assert kept(remat=True, scan=True) < kept(scan=True)


def test_stages_before_and_after_any_border():
    (plain, params), (model, _) = tiny("bert_base"), tiny("bert_base", scan=True)
    for stage in model.stages:
        expected = plain.apply({"params": params}, inputs(plain), stop=stage)
        before = model.apply({"params": params}, inputs(model), stop=stage)
        assert_near(before, expected)
        after = model.apply({"params": params}, before, start=stage)
        assert_near(after, plain.apply({"params": params}, expected, start=stage))


def test_dropout_is_another_in_each_layer_and_with_each_key():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return x + nn.Dropout(0.5)(jnp.ones_like(x), deterministic=not train)

    class Layers(models.Chain):
        def parts(self):
            return {f"layer_{i}": Layer for i in range(8)}

    def run(key):
        return Layers(scan=True).apply({}, jnp.zeros(64), train=True, rngs={"dropout": jax.random.key(key)})

    assert len(np.unique(run(0))) > 4  # one mask for all layers would leave 0 and 16
    assert not np.array_equal(run(0), run(1))


@pytest.mark.parametrize("name", ["bert_base", "gpt2"])
def test_dropout_of_what_is_computed_again_is_the_same(name):
    (plain, params), (model, _) = tiny(name), tiny(name, remat=True)
    more = {"train": True, "rngs": {"dropout": jax.random.key(3)}}
    expected = jax.value_and_grad(functools.partial(loss, plain, **more))(params)
    assert_near(jax.value_and_grad(functools.partial(loss, model, **more))(params), expected)


def frozen_below(params, layer):
    """The params of the stages before `layer`, and the others."""
    moving = {f"layer_{i}" for i in range(layer, 4)} | {"pool", "head"}
    return ({k: v for k, v in params.items() if k not in moving}, {k: v for k, v in params.items() if k in moving})


def test_layers_that_stand_still_are_a_loop_of_their_own():
    model, params = tiny("bert_base", scan=True)
    _, moving = frozen_below(params, 2)
    moves = trees.unflatten({path: path.split("/")[0] in moving for path in trees.flatten(params)})

    def run(stop, key):
        with freeze(frozen_modules(moves)):
            rngs = {"dropout": jax.random.key(key)}
            return model.apply({"params": params}, inputs(model), train=True, stop=stop, rngs=rngs)

    assert_near(run("layer_2", 0), model.apply({"params": params}, inputs(model), stop="layer_2"))
    assert not np.allclose(run("head", 0), run("head", 1))
    assert scans(lambda key: run("head", 0), 0) == [2, 2]


def test_frozen_layers_have_no_gradient_in_a_loop_either():
    model, params = tiny("bert_base", scan=True)
    frozen, moving = frozen_below(params, 3)

    def gradient(moving):
        return jax.grad(lambda moving: loss(model, frozen | moving))(moving)

    assert scans(gradient, moving) == [3]  # forwards; the fourth layer is alone
    plain, _ = tiny("bert_base")
    assert_near(gradient(moving), jax.grad(lambda moving: loss(plain, frozen | moving))(moving))


def test_an_interceptor_of_one_layer_keeps_it_apart():
    (plain, params), (model, _) = tiny("bert_base"), tiny("bert_base", scan=True)

    def louder(call, args, kwargs, context):
        y = call(*args, **kwargs)
        return 2 * y if context.module.path == ("layer_1", "fc1") else y

    def run(model):
        given = inputs(model)
        with nn.intercept_methods(louder):
            return model.apply({"params": params}, given)

    assert_near(run(model), run(plain))
    assert scans(lambda _: run(model), 0) == [2]
    assert not np.allclose(run(plain), plain.apply({"params": params}, inputs(plain)))


def test_variables_beside_the_parameters_are_taken_along():
    (plain, params), (model, _) = tiny("bert_base"), tiny("bert_base", scan=True)
    sides = {f"layer_{i}": {"fc1": {"shift": jnp.full(12, 0.3 * i)}} for i in range(4)}

    def shifted(call, args, kwargs, context):
        y, module = call(*args, **kwargs), context.module
        return y + module.get_variable("sides", "shift") if module.has_variable("sides", "shift") else y

    def run(model, sides):
        given = inputs(model)
        with nn.intercept_methods(shifted):
            return jnp.square(model.apply({"params": params, "sides": sides}, given)).mean()

    assert_near(*(jax.value_and_grad(functools.partial(run, model))(sides) for model in (plain, model)))
    assert scans(functools.partial(run, model), sides) == [4]
    del sides["layer_0"], sides["layer_3"]
    assert scans(functools.partial(run, model), sides) == [2]
    assert_near(run(model, sides), run(plain, sides))


@pytest.mark.parametrize("fields", [{"scan": True}, {"remat": True}], ids=str)
def test_a_cache_is_kept_by_a_model_that_loops(fields):
    def generate(model, params):
        variables, found = {"params": params}, []
        for ids in (jnp.zeros((1, 6), jnp.int32), jnp.array([[5, 7]]), jnp.array([[9]])):
            given = {"input_ids": ids, "attention_mask": jnp.ones((1, 6), jnp.int32)}
            logits, cache = model.apply(variables, given, mutable=["cache"])
            variables = {**variables, **cache}
            found.append(logits)
        return found[1:]

    assert_near(generate(*tiny("gpt2", **fields)), generate(*tiny("gpt2")))


@pytest.mark.parametrize(("name", "library"), [("vit_base_patch16", "timm"), ("qwen2_0_5b", "transformers")])
def test_other_libraries_need_not_know(name, library):
    write = getattr(libraries, library)
    plain, loops = (models.create(name, **fields) for fields in ({}, BOTH))
    assert write(name, loops, ()) == write(name, plain, ())


def test_batch_norm_moves_its_statistics_where_stages_are_computed_again():
    plain = models.create("resnet18", 3, depths=(1, 1, 1, 1), image_size=32)
    variables = jax.jit(plain.init)(jax.random.key(0), plain.example_input())
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))

    def step(model):
        def loss(params):
            state = {**variables, "params": params}
            logits, moved = model.apply(state, images, train=True, mutable=["batch_stats"])
            return jnp.square(logits).mean(), moved

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    for fields in ({"remat": True}, {"scan": True}):
        for a, b in zip(jax.tree.leaves(step(plain.clone(**fields))), jax.tree.leaves(step(plain)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
