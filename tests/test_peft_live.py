"""Hugging Face's PEFT and this package compute the same of each other's folders. Skipped without the libraries."""

import importlib.util

import jax
import live_libraries
import numpy as np
import pytest

if live_libraries.MISSING or not importlib.util.find_spec("peft"):
    pytest.skip("the extra `live` and peft are not installed", allow_module_level=True)

import peft as hugging_face
import safetensors.torch
import tiny_peft
import torch

from jtransfer import peft, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.exporting import merging
from jtransfer.models import forward
from jtransfer.weights.adapters import parts, save
from jtransfer.weights.adapters.load import load

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]
METHODS = {kind.lower(): kind.lower() for kind in (*parts.KINDS, "PROMPT", "PREFIX")}
METHODS |= {"dora": "dora", "depthwise": "lora_fa"}
KNOWN = [case for case in tiny_peft.CASES if METHODS.get(case.partition("_")[0], "lora") in peft.METHODS]
ROWS = {
    "bert": [("layer_.*/kernel|pool/.*", {"rank": 2, "alpha": 3.0}), ("embed/tokens", {"rank": 3, "rslora": True})],
    "roberta": [("layer_.*/kernel", {"rank": 2})],
    "distilbert": [("layer_.*/kernel", {"rank": 2})],
    "pissa": [("layer_.*/kernel", {"rank": 2, "alpha": 3.0, "start": "pissa"})],
    "olora": [("layer_.*/(query|value)", {"rank": 2, "start": "olora"})],
    "gpt2": [(".*/(query|value)", {"rank": 3, "alpha": 5.0}), (".*/(key|fc1|fc2)", {"rank": 2})],
    "llama": [("layer_.*/kernel", {"rank": 3})],
    "t5": [(".*/(attention|cross)/.*/kernel", {"rank": 3, "alpha": 1.0})],
    "clip": [(".*/attention/(query|value)", {"rank": 3}), ("image/embed/patches", {"rank": 2})],
    "vit": [(".*/attention/(query|value)", {"rank": 3}), ("embed/patches", {"rank": 2})],
    "dinov2": [(".*/attention/(query|value)", {"rank": 3})],
    "swin": [(".*/attention/(query|value)", {"rank": 3})],
    "resnet": [(".*/kernel", {"rank": 2, "alpha": 3.0})],
    "timm_vit": [(".*/attention/(query|value)", {"rank": 3}), (".*/fc1", {"rank": 2})],
}


def logits_of(model, variables, inputs):
    return np.asarray(forward.apply(model, variables, inputs)[0])


def loaded(base, folder):
    return hugging_face.PeftModel.from_pretrained(base, str(folder)).eval()


@pytest.mark.parametrize("case", KNOWN)
def test_an_adapter_of_peft_computes_the_same_here_and_goes_back(case, tmp_path):
    base, logits = tiny_peft.write(case, tmp_path)
    inputs = tiny_peft.CASES[case][2]
    model, variables, _ = weights.restore(tmp_path / "base", adapters=tmp_path / "adapter")
    found = logits_of(model, variables, inputs)
    logits = logits[:, -found.shape[1] :] if logits.ndim == 3 else logits  # without those of prompts
    np.testing.assert_allclose(found, logits, atol=1e-5)
    try:
        merged = merging.merge(model, variables, untie=case == "gpt2_tied")
        np.testing.assert_allclose(logits_of(merged.model, merged.variables, inputs), logits, atol=1e-4)
    except InputError:
        assert case.startswith(("depthwise", "prompt", "prefix"))  # which are no changes of kernels
    if case != "ln_tuning":  # of which no adapter is left
        (tmp_path / "back").mkdir()
        beside = load(tmp_path / "adapter", model).params
        library = "timm" if case.startswith("timm") else ""
        save.save(tmp_path / "back", model, variables, beside=beside, library=library)
        back = tiny_peft.run(loaded(base, tmp_path / "back"), inputs)
        back = back[:, -logits.shape[1] :] if logits.ndim == 3 else back
        np.testing.assert_allclose(back, logits, atol=1e-5)


def test_an_adapter_in_a_pickle_of_torch_is_the_same(tmp_path):
    tiny_peft.write("roberta", tmp_path)
    before = load(tmp_path / "adapter", weights.restore(tmp_path / "base")[0])
    tensors = safetensors.torch.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    torch.save(tensors, tmp_path / "adapter" / "adapter_model.bin")
    after = load(tmp_path / "adapter", weights.restore(tmp_path / "base")[0])
    assert before.lines == after.lines
    jax.tree.map(np.testing.assert_array_equal, (before.adapters, before.params), (after.adapters, after.params))


@pytest.mark.parametrize("case", ROWS)
def test_an_adapter_of_ours_computes_the_same_in_peft(case, tmp_path):
    made = {"pissa": "bert", "olora": "gpt2"}.get(case, case)
    base, _ = tiny_peft.write(made, tmp_path)
    inputs = tiny_peft.CASES[made][2]
    model, variables, _ = weights.restore(tmp_path / "base")
    sites = peft.sites(model, variables, inputs)
    rows = [(pattern, "lora", fields) for pattern, fields in ROWS[case]]
    adapters = peft.init(jax.random.key(0), rows, sites, variables["params"])
    variables["adapters"] = jax.tree.map(
        lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape) * (x.ndim > 0), adapters
    )
    classifiers = ("bert", "pissa", "vit", "roberta", "distilbert")
    head = [f"head/{path}" for path in trees.flatten(variables["params"].get("head", {})) if case in classifiers]
    if head:
        variables["params"]["head"] = jax.tree.map(lambda x: x + np.float32(0.1), variables["params"]["head"])
    library = "timm" if case.startswith("timm") else ""
    (tmp_path / "ours").mkdir()
    save.save(tmp_path / "ours", model, variables, beside=head, library=library, source=str(tmp_path / "base"))
    logits = logits_of(model, variables, inputs)
    theirs = loaded(base, tmp_path / "ours")
    np.testing.assert_allclose(tiny_peft.run(theirs, inputs), logits, atol=1e-5)
    np.testing.assert_allclose(tiny_peft.run(theirs.merge_and_unload(), inputs), logits, atol=1e-4)
