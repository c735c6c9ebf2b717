"""What the README shows works as it stands."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import config as configs
from jtransfer import models, weights
from jtransfer.core import rules
from jtransfer.training import checkpoint, optim, state
from jtransfer.weights.identify import manifest
from jtransfer.weights.maps.gpt2 import transformers

SMALL = {"depths": (1, 1, 1, 1)}
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the weights file and the run that the README names."""
    model = models.create("resnet18", num_classes=10, image_size=32, **SMALL)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input(1))
    weights.save(variables, model, tmp_path / "resnet18.safetensors")
    mask = rules.trainable("head/.*", variables["params"], model.stages)
    tx = optim.make(configs.default().optim, variables, total_steps=9, trainable={"params": mask})
    begun = state.create(variables, mask, tx, seed=0)
    run = tmp_path / "runs" / "first"
    base = checkpoint.write_base(run, "only", begun.frozen)
    with checkpoint.open_checkpoints(run, every=1) as checkpoints:
        checkpoint.save(checkpoints, 1, begun, {"phase": "only", "base": base})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pieces_work_as_shown(folder):
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "make_train_step" in block)
    names = {
        "jax": jax,
        "SMALL": SMALL,
        "config": configs.default(),
        "images": np.zeros((4, 32, 32, 3), np.float32),
        "labels": jnp.arange(4),
        "mask_of_real_examples": jnp.ones(4, bool),
    }
    exec(code.replace("resnet50", "resnet18").replace("num_classes=10", "num_classes=10, **SMALL"), names)
    assert names["features"].shape == (4, 512)
    assert names["current"].step == 1
    assert np.isfinite(names["metrics"]["loss"])
    assert names["eval_step"](names["variables"], {"inputs": names["images"]})["logits"].shape == (4, 10)


def test_surgery_works_as_shown(tmp_path, monkeypatch, capsys):
    fields = {"width": 32, "depth": 1, "num_heads": 2, "mlp_dim": 32, "patch": 16, "image_size": 64}
    model = models.create("vit_tiny_patch16", num_classes=2, **fields)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input(1))
    (tmp_path / "checkpoint").mkdir()
    file = weights.save(variables, model, tmp_path / "checkpoint" / "model.safetensors")
    report = weights.load(file, model)[1]
    manifest.write(tmp_path / "checkpoint", manifest.describe("vit_tiny_patch16", model, report, ("dog", "cat")))
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "adapt=True" in block)
    names = {}
    exec(code, names)
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
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "generate.read" in block)
    names = {}
    exec(code, names)
    assert names["found"].tokens.shape == (1, 40)
    assert capsys.readouterr().out.strip()


def test_every_file_that_is_named_exists():
    for path in re.findall(r"\]\(([^):]+)\)", README) + re.findall(r"--config=(configs/\w+\.py)", README):
        assert (ROOT / path).exists(), path
