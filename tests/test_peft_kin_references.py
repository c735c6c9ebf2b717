"""LoRA's kin against Hugging Face's PEFT: outputs, merged weights, gradients, starts, and AdaLoRA's choice of ranks."""

import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_peft_lora import One

from jtransfer import layers, peft
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.peft import budget, factors

PATH = Path(__file__).parent / "references" / "adapters" / "peft_kin.npz"
SCALES = {"linear_rslora": 6 / 2, "linear_adalora": 3 / (4 + 1e-5)}
CASES = (
    "linear_lora",
    "linear_rslora",
    "linear_dora",
    "linear_pissa",
    "linear_olora",
    "conv_lora",
    "conv_dora",
    "embed_lora",
    "embed_dora",
    "grouped_lora",
    "linear_adalora",
)


@functools.cache
def stored():
    with np.load(PATH) as file:
        return {name: file[name] for name in file}


def stored_case(name):
    return {key.partition("/")[2]: value for key, value in stored().items() if key.startswith(f"{name}/")}


def live_case(name):
    import torchvision_stubs  # noqa: F401  before PEFT
    from make_peft_kin_references import case

    return case(name)


def turned(x):
    """PyTorch's layout → ours: [out, in, …] → […, in, out]."""
    return jnp.moveaxis(jnp.asarray(x), (0, 1), (-1, -2)) if x.ndim > 1 else jnp.asarray(x)


def ours(name, found):
    """(model, params, input, adapters, target, how to turn y) of a case."""
    kind, _, method = name.partition("_")
    x, t = jnp.asarray(found["x"]), jnp.asarray(found["t"])
    if kind == "linear":
        layer, params = nn.Dense(5), {"kernel": turned(found["weight"])}
    elif kind == "embed":
        layer, params = nn.Embed(7, 4), {"embedding": jnp.asarray(found["weight"])}
    else:
        features, groups, strides = (5, 1, 2) if kind == "conv" else (6, 2, 1)
        layer = layers.Conv(features, 3, strides=strides, padding=1, groups=groups)
        params = {"kernel": turned(found["weight"])}
        x, t = jnp.moveaxis(x, 1, -1), jnp.moveaxis(t, 1, -1)
    if "bias" in found:
        params["bias"] = jnp.asarray(found["bias"])
    own = {**trained(found), "fixed": {"scale": jnp.float32(SCALES.get(name, 6 / 4))}}
    if "start_lora_A" in found:
        own["fixed"] |= {f"{leaf}_start": value for leaf, value in start_of(found).items()}
    slot = method if method in ("dora", "adalora") else "lora"
    return One(layer), {"layer": params}, x, {"layer": {slot: own}}, t


def trained(found, prefix=""):
    """The trained arrays of a case, or their gradients, in our layout."""
    names = {"A": "a", "B": "b", "embedding_A": "a", "embedding_B": "b", "E": "e", "magnitude_vector": "magnitude"}
    made = {
        ours: found[f"{prefix}lora_{theirs}"] for theirs, ours in names.items() if f"{prefix}lora_{theirs}" in found
    }
    made = {name: turned(value) for name, value in made.items()}
    flat = {name: made[name].ravel() for name in ("e", "magnitude") if name in made}
    return {**made, **flat, "b": made["b"].reshape(made["b"].shape[-2:])}


def start_of(found):
    """The factors that a case began with."""
    return trained({key.removeprefix("start_"): value for key, value in found.items() if key.startswith("start_")})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("read", [stored_case, pytest.param(live_case, marks=pytest.mark.live)])
@pytest.mark.filterwarnings("default")
def test_an_adapter_computes_what_it_does_in_peft(name, read):
    found = read(name)
    model, params, x, adapters, t = ours(name, found)

    def loss(adapters):
        y, _ = forward.apply(model, {"params": params, "adapters": adapters}, x)
        return jnp.sum(y * t), y

    (_, y), slopes = jax.value_and_grad(loss, has_aux=True)(adapters)
    expected = np.moveaxis(found["y"], 1, -1) if y.ndim == 4 else found["y"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    (slopes,) = slopes["layer"].values()
    for leaf, value in trained(found, "grad_").items():
        np.testing.assert_allclose(slopes[leaf], value, atol=1e-4, err_msg=leaf)
    if "merged" in found:
        merged = peft.merge(params, adapters)["layer"]
        kernel = merged.get("kernel", merged.get("embedding"))
        weight = found["merged"] if "embed" in name else turned(found["merged"])
        np.testing.assert_allclose(kernel, weight, atol=1e-5)
    else:
        with pytest.raises(InputError, match="no kernel of shape"):
            peft.merge(params, adapters)


@pytest.mark.parametrize("name", ["linear_pissa", "linear_olora"])
def test_a_start_from_the_kernel_is_that_of_peft(name):
    found = stored_case(name)
    model, params, x, _, _ = ours(name, found)
    rows = [("layer", "lora", {"rank": 4, "alpha": 6, "start": name.partition("_")[2]})]
    adapters = peft.init(jax.random.key(0), rows, peft.sites(model, {"params": params}, x), params)
    own, theirs = adapters["layer"]["lora"], start_of(found)
    for leaf in "ab":  # singular vectors have no sign of their own
        np.testing.assert_allclose(np.abs(own[leaf]), np.abs(theirs[leaf]), atol=1e-5)
    np.testing.assert_allclose(*(np.tensordot(each["a"], each["b"], 1) for each in (own, theirs)), atol=1e-5)


@pytest.mark.parametrize("rank", [3, 4])
def test_a_change_of_groups_is_one_of_peft_over_all_channels(rank):
    model, x = One(layers.Conv(6, 3, groups=2)), jax.random.normal(jax.random.key(0), (2, 5, 5, 4))
    variables = model.init(jax.random.key(1), x)
    rows, sites = [("layer", "lora", {"rank": rank})], peft.sites(model, variables, x)
    own = peft.init(jax.random.key(2), rows, sites, variables["params"])["layer"]["lora"]
    own["b"] = jax.random.normal(jax.random.key(3), own["b"].shape)
    a, b = factors.over_all_channels(own["a"], own["b"], 2)
    y, wide = (
        forward.apply(model, {**variables, "adapters": {"layer": {"lora": o}}}, x)[0]
        for o in (own, {**own, "a": a, "b": b})
    )
    np.testing.assert_allclose(wide, y, atol=1e-5)


def test_ranks_are_chosen_as_in_peft():
    found = stored_case("allocations")
    tx = budget.spend(optax.set_to_zero(), total_steps=12, target_rank=2, begin=2, end=3, every=2, beta1=0.8, beta2=0.7)

    def tree(step, suffix=""):
        names = {"a": "lora_A", "b": "lora_B", "e": "lora_E"}
        turn = {"a": lambda x: x.T, "b": lambda x: x.T, "e": np.ravel}
        return {
            "adapters": {
                layer: {
                    "adalora": {
                        ours: turn[ours](found[f"{layer}_{name}{suffix}"][step]) for ours, name in names.items()
                    }
                }
                for layer in "01"
            }
        }

    state, update = tx.init(tree(0)), jax.jit(tx.update)
    for step in range(12):
        updates, state = update(tree(step, "_grad"), state, tree(step))
        for layer in "01":
            e = tree(step)["adapters"][layer]["adalora"]["e"] + updates["adapters"][layer]["adalora"]["e"]
            np.testing.assert_array_equal(e, found[f"{layer}_after"][step].ravel(), err_msg=f"step {step + 1}")
