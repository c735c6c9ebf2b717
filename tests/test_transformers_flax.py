"""Files of transformers' Flax models: the model that they are of computes what it computed there."""

import functools
import json

import jax
import numpy as np
import pytest
from references import transformers_flax
from safetensors.numpy import save_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.weights import conversion, listing


@functools.cache
def forward(model):
    return jax.jit(model.apply)


def run(model, variables, inputs):
    return forward(model)(variables, inputs["image"] if model.takes == ("image",) else inputs)


COMPUTED = ("bert_pretraining", "clip", "gpt2", "marian", "resnet_basic", "t5", "vit")


@pytest.mark.parametrize("case", sorted(set(transformers_flax.cases()) - set(COMPUTED)))
def test_every_leaf_has_its_place(case, tmp_path):
    _, _, report = weights.restore(transformers_flax.write(case, tmp_path))
    assert not report.reinitialised
    assert {name for name, _ in report.ignored} <= {"dinov2.embeddings.mask_token"}


def marked(case):
    """All cases are computed with the live ones, a few of them always."""
    return pytest.param(case, marks=[] if case in COMPUTED else pytest.mark.live)


@pytest.mark.parametrize("case", [marked(case) for case in transformers_flax.cases()])
def test_logits_equal_those_of_the_flax_model(case, tmp_path):
    spec, logits = transformers_flax.load(case)
    model, variables, report = weights.restore(transformers_flax.write(case, tmp_path))
    assert not report.reinitialised
    inputs = transformers_flax.inputs(spec["kind"])
    seen = slice(None)
    if logits.ndim == 3:
        seen = inputs.get("decoder_attention_mask", inputs["attention_mask"]).astype(bool)
    found = run(model, variables, inputs)
    np.testing.assert_allclose(found[seen], logits[seen], rtol=0, atol=1e-4)


def test_the_file_alone_is_known_by_its_names(tmp_path):
    file = transformers_flax.write("gpt2", tmp_path) / transformers_flax.FILE
    model, variables, _ = weights.restore(file)
    (tmp_path / "config.json").unlink()
    renamed = file.rename(tmp_path / "mine.msgpack")
    again, report = weights.load(renamed, model)
    assert not report.reinitialised
    for ours, theirs in zip(*map(jax.tree.leaves, (again, variables)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    text = "\n".join(listing.lines(str(renamed)))
    assert "msgpack of transformers' Flax, as torch has it" in text
    assert "gpt2 (transformers names)" in text


@pytest.mark.parametrize("case", ["bert_classify", "llama", "resnet_basic"])
def test_shards_are_one_checkpoint(case, tmp_path):
    whole = weights.restore(transformers_flax.write(case, tmp_path / "whole"))
    folder = transformers_flax.write(case, tmp_path / "shards")
    (folder / transformers_flax.FILE).unlink()
    leaves = transformers_flax.leaves(transformers_flax.load(case)[0])
    half, names = len(leaves) // 2, {}
    for k, part in enumerate((list(leaves)[:half], list(leaves)[half:]), 1):
        shard = f"flax_model-0000{k}-of-00002.msgpack"
        names |= dict.fromkeys(part, shard)
        transformers_flax.write_leaves(folder / shard, {path: leaves[path] for path in part})
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / f"{transformers_flax.FILE}.index.json").write_text(json.dumps(index))
    model, variables, report = weights.restore(folder)
    assert (model, report.digest) == (whole[0], whole[2].digest)
    for ours, theirs in zip(*map(jax.tree.leaves, (variables, whole[1])), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_torch_model_has_the_same_digest(tmp_path):
    """The file of the torch model is laid out here by hand: kernels [out, in], and torch's names."""
    spec, _ = transformers_flax.load("bert_tag")
    folder = transformers_flax.write("bert_tag", tmp_path / "flax")
    torch = {}
    for path, leaf in transformers_flax.leaves(spec).items():
        *parts, last = path.split("/")
        last = "bias" if last == "bias" else "weight"
        torch[".".join([*parts, last])] = np.ascontiguousarray(leaf.T if path.endswith("kernel") else leaf)
    save_file(torch, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(spec["config"]))
    assert weights.restore(folder)[2].digest == weights.restore(tmp_path / "model.safetensors")[2].digest


def test_half_precision_and_conversion(tmp_path):
    source = transformers_flax.write("t5", tmp_path / "t5", dtype="bfloat16")
    spec, report = conversion.convert(source, tmp_path / "new")
    model, variables, _ = weights.restore(tmp_path / "new")
    assert model == spec.model
    _, whole, _ = weights.restore(source)
    for ours, theirs in zip(*map(jax.tree.leaves, (variables, whole)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "encoder.block.0.layer.0.SelfAttention.q.weight" in report.digests


def test_a_tree_that_is_given_is_read_as_well():
    spec, _ = transformers_flax.load("bert_tag")
    fields = {"vocab_size": 41, "max_length": 16, "width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 24, "head": "tag"}
    _, report = weights.load(transformers_flax.leaves(spec), models.create("bert_base", 10, **fields))
    assert not report.reinitialised


def test_paths_of_our_own_are_left_alone(tmp_path):
    model = models.create("vit_tiny_patch16", 3, width=16, depth=1, num_heads=2, mlp_dim=24, image_size=32)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input())
    transformers_flax.write_leaves(tmp_path / "flax_model.msgpack", trees.flatten(jax.device_get(variables)))
    _, report = weights.load(tmp_path / "flax_model.msgpack", model)
    assert report.scheme == "jtransfer"
