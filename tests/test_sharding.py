"""On eight devices both presets give the loss of one, and hold the bytes per device that they promise."""

import jax
import numpy as np
import pytest
import small
from jax.sharding import PartitionSpec

from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import create
from jtransfer.runs import initialize

SPEC = "(stage[34]|head)/.*"


def losses(devices, table):
    """The losses of five steps, and the last state."""
    model, variables = small.model_of("resnet"), small.variables_of("resnet")
    mesh = sharding.make_mesh({"data": devices}, jax.devices()[:devices])
    begun, train_step = small.training(model, variables, SPEC, lr=1e-3)
    placed = sharding.of_state(begun, mesh, table)
    begun = jax.jit(lambda s: s, out_shardings=placed)(begun)
    found, batch = [], sharding.put_batch(jax.device_get(small.batch_of(16)), mesh)
    for _ in range(5):
        begun, metrics = train_step(begun, batch)
        found.append(float(metrics["loss"]))
    return found, begun


@pytest.fixture(scope="module")
def alone():
    return losses(1, "replicate")[0]


@pytest.mark.parametrize("table", ["replicate", "fsdp"])
def test_eight_devices_give_the_loss_of_one(alone, table):
    found, last = losses(8, table)
    assert len(set(found)) == 5
    np.testing.assert_allclose(found, alone, rtol=0, atol=1e-5)
    for part in (last.trainable, last.frozen, last.ema):
        held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(part))
        promised = trees.nbytes(part) if table == "replicate" else promised_bytes(part, 8)
        assert held == promised
    if table == "fsdp":
        assert promised_bytes(last.frozen, 8) < 0.2 * trees.nbytes(last.frozen)


def promised_bytes(part, size):
    cut = {path: any(n % size == 0 for n in leaf.shape) for path, leaf in trees.flatten(part).items()}
    return sum(leaf.nbytes // (size if cut[path] else 1) for path, leaf in trees.flatten(part).items())


def test_moments_lie_as_their_parameters_do():
    begun, _ = small.training(small.model_of("resnet"), small.variables_of("resnet"), SPEC)
    placed = sharding.of_state(begun, sharding.make_mesh({"data": -1}), "fsdp")
    specs = {str(s.spec) for s in jax.tree.leaves(placed.opt_state)}
    assert len(specs) > 2
    kernel = placed.trainable["params"]["head"]["dense"]["kernel"]
    moments = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(placed.opt_state)
        if "'head'" in jax.tree_util.keystr(path) and "'kernel'" in jax.tree_util.keystr(path)
    ]
    assert moments == [kernel, kernel]
    assert placed.step.spec == PartitionSpec()


def test_a_table_cuts_along_any_axis_of_the_mesh():
    mesh = sharding.make_mesh({"model": 2, "data": -1})
    assert dict(mesh.shape) == {"data": 4, "model": 2}
    params = {"a": {"kernel": np.zeros((6, 8))}, "b": {"kernel": np.zeros((8, 3)), "bias": np.zeros(3)}}
    table = [("a/kernel", (None, "model")), ("b/.*", "fsdp")]
    placed = sharding.of_params(params, mesh, table)
    assert placed["a"]["kernel"].spec == PartitionSpec(None, "model")
    assert placed["b"]["kernel"].spec == PartitionSpec("data", None)
    assert placed["b"]["bias"].spec == PartitionSpec()
    array = sharding.place(np.arange(48.0).reshape(6, 8), placed["a"]["kernel"])
    assert array.addressable_shards[0].data.shape == (6, 4)


def test_variables_are_made_straight_in_their_sharding():
    model = create("resnet18", 8, depths=(1, 1, 1, 1), image_size=32)
    mesh = sharding.make_mesh({"data": -1})
    variables, report = initialize.variables("scratch", model, mesh, "fsdp")
    assert report is None
    head = variables["params"]["head"]["dense"]["kernel"]
    assert head.addressable_shards[0].data.shape == (64, 8)
    one, _ = initialize.variables("scratch", model, sharding.make_mesh({"data": 1}, jax.devices()[:1]), "replicate")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(variables), jax.device_get(one))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: sharding.make_mesh({"data": 3}), "multiply to the 8 devices"),
        (lambda: sharding.make_mesh({"model": 8}), "needs an axis 'data'"),
        (lambda: sharding.check_batch(12, sharding.make_mesh({"data": 8})), "the nearest that is: 16"),
        (lambda: sharding.check_batch(16, sharding.make_mesh({"data": 8}), 4), "the nearest that is: 32"),
        (
            lambda: sharding.of_params({"k": np.zeros((5, 8))}, sharding.make_mesh({"data": 8}), [("k", ("data",))]),
            "dimension 0 of k",
        ),
        (lambda: sharding.of_params({"k": np.zeros(8)}, sharding.make_mesh({"data": 8}), [("k", ("m",))]), "'m'"),
        (lambda: sharding.of_params({"k": np.zeros(8)}, sharding.make_mesh({"data": 8}), "zero"), "'replicate' or"),
    ],
)
def test_what_does_not_fit_is_said_before_training(call, text):
    with pytest.raises(InputError, match=text):
        call()
