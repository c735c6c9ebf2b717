"""Adapters of weights that PEFT made compute here what they do there, merged or not, and are written as they were."""

import importlib
import json
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jtransfer import peft
from jtransfer.core.errors import InputError
from jtransfer.models import forward

FOLDER = Path(__file__).parent / "references"
REFERENCES = load_file(FOLDER / "peft_weights.safetensors")
SETTINGS = json.loads((FOLDER / "peft_weights.json").read_text())
WIDEST = (12, 16)
FIELDS = {  # of ours, with which an adapter begins that has PEFT's settings of a case
    "vera": {"rank": 3},
    "vera_seed": {"rank": 3, "seed": 5},
    "loha": {"rank": 2, "alpha": 3},
    "lokr": {"rank": 1, "alpha": 3},
    "lokr_full": {"rank": 4, "alpha": 3, "decompose_factor": 2},
    "randlora": {"rank": 3, "alpha": 4},
    "fourierft": {"n_frequency": 9, "scaling": 20.0},
    "oft": {"block_size": 2},
    "oft_share": {"block_size": 4, "block_share": True},
    "oft_norm": {"block_size": 4, "eps": 0.1},
    "boft": {"block_size": 4},
    "boft_two": {"block_size": 6, "factors": 2},
}
KERNEL = {"embed": "embedding"}


class Layers(nn.Module):
    """The layers of the references, each for its own input."""

    def setup(self):
        self.linear = nn.Dense(8)
        self.wide = nn.Dense(16)
        self.conv = nn.Conv(6, (3, 3), strides=2, padding=1)
        self.grouped = nn.Conv(6, (3, 3), padding=1, feature_group_count=2)
        self.pointwise = nn.Conv(4, (1, 1))
        self.conv1d = nn.Conv(6, (3,), padding=0)
        self.embed = nn.Embed(10, 12)

    def __call__(self, x):
        return {name: getattr(self, name)(given) for name, given in x.items()}


def ours(layer, array):
    """[batch, channels, …] with the channels last."""
    return array if layer == "embed" else np.moveaxis(array, 1, -1)


def kernel(layer, weight):
    return weight if layer == "embed" else np.moveaxis(weight, (1, 0), (-2, -1))


@pytest.fixture(scope="module")
def plain():
    params = {}
    for name, array in REFERENCES.items():
        if name.startswith("base/"):
            layer, _, leaf = name.removeprefix("base/").partition(".")
            found = (leaf, array) if leaf == "bias" else (KERNEL.get(layer, "kernel"), kernel(layer, array))
            params[layer] = params.get(layer, {}) | dict([found])
    x = {layer: ours(layer, REFERENCES[f"x/{layer}"]) for layer in params}
    x["embed"] = x["embed"].astype(np.int32)
    return params, x, peft.sites(Layers(), {"params": params}, x)


def tensors_of(case, layer):
    """A layer's tensors in the file, and those of all layers."""
    start = f"{case}/tensor/"
    named = {name.removeprefix(start): array for name, array in REFERENCES.items() if name.startswith(start)}
    own = {name.removeprefix(f"{layer}."): array for name, array in named.items() if name.startswith(f"{layer}.")}
    return own | {name: array for name, array in named.items() if name.startswith("base_model.")}


def read(case, sites):
    """(method, its file, {layer: adapter}, settings of each layer)."""
    settings = SETTINGS[case]
    method = settings["peft_type"].lower()
    form = importlib.import_module(f"jtransfer.peft.{method}")
    assert settings["peft_type"] == form.PEFT
    layers = [name.rpartition("/")[2] for name in REFERENCES if name.startswith(f"{case}/y/")]
    inputs = settings.get("feedforward_modules", ())
    of_layer = {layer: {**settings, "feedforward": layer in inputs, "widest": WIDEST} for layer in layers}
    adapters = {layer: form.from_peft(tensors_of(case, layer), sites[layer], of_layer[layer]) for layer in layers}
    return method, form, adapters, of_layer


@pytest.fixture(scope="module")
def computed(plain):
    """Of each case, what the adapted layers return, and the merged parameters."""
    params, x, sites = plain
    trees = {}
    for case in SETTINGS:
        method, _, adapters, _ = read(case, sites)
        trees[case] = {layer: {method: own} for layer, own in adapters.items()}

    def compute(params, tree):
        variables = {"params": params, "adapters": tree}
        y, _ = forward.apply(Layers(), variables, {layer: x[layer] for layer in tree})
        return y, peft.merge(params, tree)

    return jax.jit(lambda params, trees: {case: compute(params, tree) for case, tree in trees.items()})(params, trees)


@pytest.mark.parametrize("case", SETTINGS)
def test_a_layer_computes_and_merges_what_it_does_in_peft(computed, case):
    y, merged = computed[case]
    for layer, found in y.items():
        np.testing.assert_allclose(found, ours(layer, REFERENCES[f"{case}/y/{layer}"]), atol=1e-5, rtol=1e-5)
        weight = kernel(layer, REFERENCES[f"{case}/merged/{layer}"])
        np.testing.assert_allclose(merged[layer][KERNEL.get(layer, "kernel")], weight, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in SETTINGS if not case.endswith(("core", "seed"))])
def test_an_adapter_of_peft_is_written_as_it_was(plain, case):
    _, form, adapters, settings = read(case, plain[2])
    for layer, own in adapters.items():
        site, expected = plain[2][layer], tensors_of(case, layer)
        tensors, said = form.to_peft(own, site, WIDEST)
        assert tensors.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(tensors[name], array, atol=1e-6, err_msg=name)
        again = form.from_peft(tensors, site, settings[layer] | said)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, own)


@pytest.mark.live
@pytest.mark.parametrize(
    "case", [case for case in SETTINGS if not case.endswith(("core", "both", "series", "three", "inputs"))]
)
def test_peft_computes_what_an_adapter_that_was_begun_here_does(plain, case):
    import make_peft_weights_references as references
    import torch

    params, x, sites = plain
    method, form, adapters, _ = read(case, sites)
    rng = np.random.default_rng(0)
    settings, tensors = {}, {}
    for layer, own in adapters.items():
        fields = FIELDS.get(case, {})
        begun = peft.init(jax.random.key(4), [(layer, method, fields)], sites, params)[layer][method]
        assert {name: leaf.shape for name, leaf in begun.items() if name != "fixed"} == {
            name: leaf.shape for name, leaf in own.items() if name != "fixed"
        }
        for name, leaf in begun.items():
            if name != "fixed":
                begun[name] = leaf + 0.3 * rng.standard_normal(leaf.shape, np.float32)
        adapters[layer] = begun
        own_tensors, settings[layer] = form.to_peft(begun, sites[layer], WIDEST)
        tensors |= {n if n.startswith("base_model.") else f"{layer}.{n}": a for n, a in own_tensors.items()}
    tree = {layer: {method: own} for layer, own in adapters.items()}
    given = {layer: x[layer] for layer in adapters}
    y, _ = forward.apply(Layers(), {"params": params, "adapters": tree}, given)
    theirs = references.loaded(case, tensors, settings)
    for layer in adapters:
        with torch.no_grad():
            expected = getattr(theirs, layer)(references.inputs()[layer]).numpy()
        np.testing.assert_allclose(y[layer], ours(layer, expected), atol=1e-5, rtol=1e-5)


def _settings(case, **changes):
    return {"feedforward": False, "widest": WIDEST, **SETTINGS[case], **changes}


@pytest.mark.parametrize(
    ("case", "layer", "changes", "settings", "says"),
    [
        ("ia3", "linear", {"ia3_l": (1, 8)}, {}, r"ia3_l has the shape \[1, 8\]; expected \[8, 1\]"),
        ("ia3", "embed", {}, {}, "PEFT has no IA3 for a layer of the class Embed"),
        ("vera", "linear", {"vera_lambda_d": None}, {}, "vera_lambda_d is missing"),
        ("vera", "linear", {"base_model.vera_A": (3, 11)}, {}, "smaller than the layer"),
        ("vera", "conv", {}, {}, "PEFT has no VeRA for a layer of the class Conv"),
        ("loha", "linear", {}, {"r": 3}, "hada_w1_a"),
        ("lokr", "linear", {"lokr_w2_b": (1, 5)}, {}, "lokr_w2_b"),
        ("lokr_full", "conv1d", {"lokr_w2": (3, 2, 3), "lokr_w1": (2, 2)}, {}, "no Kronecker product"),
        ("randlora", "linear", {"base_model.randlora_A": None}, {}, "save_projection=True"),
        ("randlora", "linear", {"base_model.randlora_B": (16, 2, 3)}, {}, "smaller than the layer"),
        ("fourierft", "linear", {}, {"n_frequency": 97}, "more than the 96 numbers"),
        ("oft", "linear", {"oft_R.weight": (5, 1)}, {}, "has 5 blocks; the layer has 6"),
        ("oft", "linear", {"oft_R.weight": (6, 2)}, {}, "does not fit"),
        ("oft", "conv", {}, {}, "not what it merges"),
        ("boft", "linear", {"boft_R": (1, 3, 4, 5)}, {}, "does not fit the 12 inputs"),
        ("boft_two", "wide", {"boft_R": (3, 2, 4, 4)}, {}, "factors=3 of blocks of 4"),
        ("boft", "grouped", {}, {}, "no BOFT for a convolution with groups"),
    ],
)
def test_what_is_no_adapter_of_a_layer_is_one_line(plain, case, layer, changes, settings, says):
    form = importlib.import_module(f"jtransfer.peft.{case.partition('_')[0]}")
    tensors = tensors_of(case, layer)
    tensors |= {name: np.zeros(shape or (), np.float32) for name, shape in changes.items()}
    tensors = {name: array for name, array in tensors.items() if changes.get(name, ()) is not None}
    with pytest.raises(InputError, match=says):
        form.from_peft(tensors, plain[2][layer], _settings(case, **settings))
