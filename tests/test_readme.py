"""What the README shows works as it stands."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np

from jtransfer import models, weights
from jtransfer.weights.identify import manifest
from jtransfer.weights.maps.gpt2 import transformers

SMALL = {"depths": (1, 1, 1, 1)}
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(part):
    """The one block of code of the README that has a text."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if part in block)
    return code


def test_the_pieces_work_as_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block("make_train_step"), names)
    assert names["features"].shape == (16, 1280)
    assert names["current"].step == 20
    assert names["metrics"]["loss"] < 2.0 < np.log(10)
    assert names["logits"].shape == (16, 10)
    assert "loss" in capsys.readouterr().out
    for leaf in jax.tree.leaves(names["variables"]):
        np.asarray(leaf)


def test_surgery_works_as_shown(tmp_path, monkeypatch, capsys):
    fields = {"width": 32, "depth": 1, "num_heads": 2, "mlp_dim": 32, "patch": 16, "image_size": 64}
    model = models.create("vit_tiny_patch16", num_classes=2, **fields)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input(1))
    (tmp_path / "checkpoint").mkdir()
    file = weights.save(variables, model, tmp_path / "checkpoint" / "model.safetensors")
    report = weights.load(file, model)[1]
    manifest.write(tmp_path / "checkpoint", manifest.describe("vit_tiny_patch16", model, report, ("dog", "cat")))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block("adapt=True"), names)
    assert names["model"].apply(names["variables"], np.zeros((1, 48, 96, 1))).shape == (1, 2)
    out = capsys.readouterr().out
    for done in ("a grid of 4×4 → 3×6", "channels: 3 → 1", "1 of 2 classes kept by name"):
        assert f"adapted: {done}" in out
    assert (tmp_path / "model.safetensors").exists()


def test_writing_works_as_shown(tmp_path, monkeypatch, capsys):
    tokens = ROOT / "tests" / "references" / "tokenizers" / "gpt2"
    shutil.copytree(tokens, tmp_path / "gpt2")
    fields = {"vocab_size": 400, "max_length": 64, "width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 64}
    model = models.create("gpt2", **fields)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input(1))
    weights.save(variables, model, tmp_path / "gpt2" / "model.safetensors")
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(transformers(model)))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block("generate.read"), names)
    assert names["found"].tokens.shape == (1, 40)
    assert capsys.readouterr().out.strip()


def test_every_file_that_is_named_exists():
    for path in re.findall(r"\]\(([^):]+)\)", README) + re.findall(r"--config=(configs/\w+\.py)", README):
        assert (ROOT / path).exists(), path
