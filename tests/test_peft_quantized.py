"""Frozen kernels in eight and four bits: how they are stored, what a model computes with them, what is kept."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import layers, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward

REFERENCE = Path(__file__).parent / "references" / "adapters" / "nf4.npz"
WORST = {"int8": 0.5 / 127, "nf4": (1 - 0.6961928009986877) / 2, "nf4_double": 0.17}  # of a block's greatest magnitude


class Kinds(nn.Module):
    """Layers of all kinds that are linear in a kernel, and an embedding that gives the logits as well."""

    @nn.compact
    def __call__(self, x):
        tokens = nn.Embed(10, 64, name="tokens")
        y = tokens(x)
        y = nn.relu(nn.Dense(96, name="dense")(y))
        y = nn.DenseGeneral((4, 6), name="split")(y)
        y = nn.DenseGeneral(24, axis=(-2, -1), name="join")(y)
        y = nn.Conv(24, (3,), feature_group_count=24, name="depthwise")(y)
        y = layers.Conv(64, (3, 1), groups=2, name="grouped")(y[:, :, None])[:, :, 0]
        return tokens.attend(y)


def made(model, x, table, rows=()):
    variables = model.init(jax.random.key(0), x)
    sites = peft.sites(model, variables, x)
    params, quantized = peft.quantize(variables["params"], peft.quantizable(table, sites), sites)
    adapters = peft.init(jax.random.key(1), rows, sites, variables["params"])
    moved = jax.tree.map(lambda leaf: leaf + 0.1 * (leaf.ndim > 0), adapters)
    return variables, {"params": params, **quantized}, {"adapters": moved} if rows else {}


class One(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.features, use_bias=False, name="dense")(x)


def dense(weight, form):
    """How a dense layer's kernel is stored, given as torch has it; and the parameters after it was."""
    params = {"dense": {"kernel": jnp.asarray(weight.T)}}
    sites = peft.sites(One(len(weight)), {"params": params}, jnp.ones((1, weight.shape[1])))
    params, quantized = peft.quantize(params, peft.quantizable(form, sites), sites)
    return quantized["quantized"]["dense"]["kernel"], peft.dequantize({"params": params, **quantized})["params"]


def test_nf4_is_stored_as_bitsandbytes_does():
    with np.load(REFERENCE) as reference:
        stored, params = dense(reference["weight"], "nf4")
        np.testing.assert_array_equal(stored["absmax"].T.reshape(-1), reference["absmax"])
        np.testing.assert_array_equal(params["dense"]["kernel"].T, reference["nf4"])
        assert stored["nf4"].nbytes == reference["weight"].size / 2


def test_int8_is_stored_as_bitsandbytes_does_but_for_its_half_precision():
    with np.load(REFERENCE) as reference:
        stored, _ = dense(reference["weight"], "int8")
        np.testing.assert_allclose(stored["scale"][0] * 127, reference["rows"], rtol=1e-3)
        assert np.abs(stored["int8"].T.astype(int) - reference["int8"]).max() <= 1
        assert np.mean(reference["int8"] == stored["int8"].T) > 0.98


@pytest.mark.parametrize("form", WORST)
def test_the_error_is_bounded_by_the_format(form):
    weight = np.random.default_rng(1).standard_normal((8, 192)).astype(np.float32)
    _, params = dense(weight, form)
    greatest = np.abs(weight.reshape(8, 3, 64)).max(2) if form != "int8" else np.abs(weight).max(1, keepdims=True)
    bound = WORST[form] * np.repeat(greatest, weight.shape[1] // greatest.shape[1], axis=1)
    assert np.all(np.abs(params["dense"]["kernel"].T - weight) <= bound * (1 + 1e-6))
    assert np.all(dense(np.zeros((2, 64), np.float32), form)[1]["dense"]["kernel"] == 0)


@pytest.mark.parametrize("form", WORST)
def test_layers_of_all_kinds_compute_with_what_is_stored(form):
    model, x = Kinds(), jnp.arange(12).reshape(2, 6) % 10
    rows = [("dense|join", "lora", {"rank": 2})]
    variables, stored, adapters = made(model, x, [(".*", form)], rows)
    assert set(trees.flatten(stored["params"])) == {p for p in trees.flatten(variables["params"]) if "bias" in p}
    plain = peft.dequantize(stored)
    assert {p: v.shape for p, v in trees.flatten(plain["params"]).items()} == {
        p: v.shape for p, v in trees.flatten(variables["params"]).items()
    }

    def loss(adapters, base):
        return jnp.sum(forward.apply(model, {**base, **adapters}, x)[0] ** 2)

    step = jax.jit(jax.value_and_grad(loss))
    (expected, slopes), (found, own) = step(adapters, plain), step(adapters, stored)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), own, slopes)


def test_no_kernel_is_kept_for_the_gradient():
    model, x = Kinds(), jnp.arange(12).reshape(2, 6) % 10
    _, stored, adapters = made(model, x, "nf4", [("dense|join", "lora", {"rank": 2})])
    kept = jax.vjp(lambda adapters: forward.apply(model, {**stored, **adapters}, x)[0], adapters)[1]
    plain = trees.flatten(peft.dequantize(stored)["params"])
    kernels = {array.shape for path, array in plain.items() if path.endswith("kernel")}
    assert len(kernels) == 5
    assert not [leaf.shape for leaf in jax.tree.leaves(kept) if leaf.shape in kernels and leaf.dtype == jnp.float32]


def test_a_scan_over_layers_is_stored_layer_by_layer():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.tanh(nn.Dense(64, name="dense")(x)), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            axes = {"params": 0, "quantized": 0}
            return nn.scan(Layer, variable_axes=axes, split_rngs={"params": True}, length=3)(name="layers")(x, None)[0]

    model, x = Scanned(), jnp.ones((2, 64))
    for form in WORST:
        variables, stored, _ = made(model, x, form)
        plain = peft.dequantize(stored)
        assert (
            np.abs(
                plain["params"]["layers"]["dense"]["kernel"] - variables["params"]["layers"]["dense"]["kernel"]
            ).max()
            > 0
        )
        np.testing.assert_allclose(forward.apply(model, stored, x)[0], forward.apply(model, plain, x)[0], atol=1e-6)


class Odd(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="odd")(nn.Dense(4, name="even")(x))


@pytest.mark.parametrize(
    ("table", "trained", "says"),
    [
        ("int4", (), "unknown quantize"),
        ([("even/kernel", "fp4")], (), "unknown quantize: format"),
        ([("evn/kernel", "nf4")], (), "matches no parameter; nearest: even/kernel"),
        ([("odd/kernel", "nf4")], (), "can't store odd/kernel: its last axis of 3 is odd"),
        ([("even/kernel", "nf4")], ("even/kernel",), "even/kernel is trained by a phase"),
        (["nf4"], (), r"not a rule \(pattern, value\)"),
        ([("(", "nf4")], (), "not a regular expression"),
    ],
)
def test_a_table_that_can_not_be_is_one_line(table, trained, says):
    x = jnp.ones((1, 4))
    sites = peft.sites(Odd(), Odd().init(jax.random.key(0), x), x)
    with pytest.raises(InputError, match=says):
        peft.quantizable(table, sites, trained)


def test_a_format_takes_the_kernels_that_it_can_store_and_that_are_not_trained():
    x = jnp.ones((1, 4))
    sites = peft.sites(Odd(), Odd().init(jax.random.key(0), x), x)
    assert peft.quantizable("nf4", sites) == {"even/kernel": "nf4"}
    assert peft.quantizable("int8", sites, {"even/kernel"}) == {"odd/kernel": "int8"}
    assert peft.quantizable([("even/.*", ""), (".*", "int8")], sites) == {"odd/kernel": "int8"}
    assert peft.quantizable("", sites) == {}
