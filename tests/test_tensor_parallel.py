"""Transformers whose layers are divided among devices: the loss of one device, and the bytes that were promised."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.layers import places
from jtransfer.models import forward

MESH = {"data": 2, "model": 4}
TEXT = {"vocab_size": 64, "width": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64}
IMAGE = {"width": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64, "image_size": 16, "patch": 8}
FAMILIES = {
    "bert_base": {**TEXT, "max_length": 16},
    "roberta_base": {**TEXT, "max_length": 16},
    "distilbert_base": {**TEXT, "max_length": 16},
    "gpt2": {**TEXT, "max_length": 16},
    "llama3_2_1b": {**TEXT, "num_kv_heads": 2, "head_dim": 8},
    "t5_small": TEXT,
    "bart_base": {**TEXT, "max_length": 16},
    "vit_base_patch16": IMAGE,
    "clip_image_base_patch32": IMAGE,
    "swin_tiny": {"width": 32, "depths": (1, 1), "num_heads": (4, 8), "image_size": 56},
}
MODULES = ("query", "key", "value", "out", "fc1", "fc2", "gate", "up", "down")


@functools.cache
def made(name):
    model = models.create(name, 3, **FAMILIES[name])
    x = jax.tree.map(lambda x: jnp.tile(x, (4, *[1] * (x.ndim - 1))), model.example_input(1))
    x = (
        {key: (value + jnp.arange(value.size).reshape(value.shape)) % 64 for key, value in x.items()}
        if isinstance(x, dict)
        else x + 1
    )
    return (
        model,
        model.init(jax.random.key(0), x),
        {**x, "attention_mask": jnp.ones_like(x["input_ids"])} if isinstance(x, dict) else x,
    )


@functools.cache
def alone(name):
    model, variables, x = made(name)
    return jax.jit(jax.value_and_grad(functools.partial(loss, model)))(variables["params"], x)


def loss(model, params, x):
    return jnp.mean(forward.apply(model, {"params": params}, x)[0] ** 2)


@pytest.mark.parametrize("table", ["tensor", "tensor_fsdp"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_one_device(name, table):
    model, variables, x = made(name)
    mesh = sharding.make_mesh(MESH)
    placed = sharding.of_params(variables, mesh, table)["params"]
    params = jax.tree.map(sharding.place, jax.tree.map(np.asarray, variables["params"]), placed)
    found = jax.jit(jax.value_and_grad(functools.partial(loss, model)))(params, sharding.put_batch({"x": x}, mesh)["x"])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone(name)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(found[0], alone(name)[0], rtol=1e-5)
    ways = 4 if table == "tensor" else 8
    divided = {path: x for path, x in trees.flatten(params).items() if path.split("/")[-2] in MODULES and x.ndim == 2}
    assert len(divided) >= 2 * 6
    for path, x in divided.items():
        assert x.addressable_shards[0].data.nbytes * ways == x.nbytes, path


def test_no_device_computes_with_all_examples():
    """Of 44 examples, each part of the axis "data" has 11, though embeddings are divided along it as well."""
    model, variables, x = made("llama3_2_1b")
    mesh = sharding.make_mesh({"data": 4, "model": 2})
    placed = sharding.of_params(variables, mesh, "tensor_fsdp")["params"]
    params = jax.tree.map(
        lambda x, placed: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), variables["params"], placed
    )
    x = jax.tree.map(lambda x: jax.ShapeDtypeStruct((44, *x.shape[1:]), x.dtype, sharding=sharding.of_batch(mesh)), x)
    with places.divided(mesh, ("data",), "model"):
        text = jax.jit(functools.partial(loss, model)).lower(params, x).compile().as_text()
    assert "f32[11," in text
    assert "f32[44," not in text


def test_a_layer_is_divided_by_columns_and_then_by_rows():
    mesh = sharding.make_mesh(MESH)
    params = {"layer/attention": {"query": {"kernel": np.zeros((8, 16))}, "out": {"kernel": np.zeros((16, 8))}}}
    placed = trees.flatten(sharding.of_params(params, mesh, "tensor"))
    assert [one.spec for one in placed.values()] == [jax.P(None, "model"), jax.P("model", None)]


def test_what_a_mesh_does_not_divide_is_cut_elsewhere_or_not_at_all():
    mesh = sharding.make_mesh(MESH)
    for shape, spec in (((30, 8), jax.P(None, "model")), ((30, 6), jax.P())):
        placed = sharding.of_params({"embed": {"tokens": {"embedding": np.zeros(shape)}}}, mesh, "tensor")
        assert placed["embed"]["tokens"]["embedding"].spec == spec


def test_a_mesh_without_the_axis_is_one_line():
    params = {"fc1": {"kernel": np.zeros((8, 8))}}
    with pytest.raises(InputError, match=r"give config\.mesh\.model"):
        sharding.of_params({"layer": params}, sharding.make_mesh({"data": -1}), "tensor")


def test_a_network_without_such_layers_is_one_line():
    with pytest.raises(InputError, match="the model has none; give 'fsdp'"):
        sharding.of_params({"conv": {"kernel": np.zeros((3, 3, 8, 8))}}, sharding.make_mesh(MESH), "tensor")
