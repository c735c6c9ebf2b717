"""Run folders and converted checkpoints of an earlier version are resumed, predicted from, exported and reported.

`make_earlier_runs.py` wrote them, and what they are to give, with that version; its configs are here in today's names.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jtransfer import config as configs
from jtransfer import export, predict, report, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.runs import log
from jtransfer.runs import open as open_run

ROOT = Path(__file__).parent.parent
EARLIER = ROOT / "tests/references/earlier"
EXPECTED = json.loads((EARLIER / "expected.json").read_text())


def images():
    config = configs.default()
    config.model.name = "vit_tiny_patch16"
    config.model.fields.update({"width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "patch": 8, "image_size": 16})
    config.data.train, config.data.validation, config.data.test = "train[:64]", "train[64:96]", "test[:32]"
    config.data.transform = "resize(16)|flip_lr"
    config.batch_size = 16
    config.optim.ema = 0.9
    config.optim.clip = 1.0
    config.optim.weight_decay = 0.05
    config.checkpoint_every, config.eval_every, config.log_every = 100, 4, 1
    config.phases = [
        configs.phase("probe", trainable="head/.*", steps=4, cache=True),
        configs.phase("finetune", trainable="(layer_1|head)/.*", steps=8, optim={"lr": 5e-4}),
    ]
    return config


def contents():
    return {str(path): path.read_bytes() for path in EARLIER.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def nothing_is_written_into_the_folders():
    before = contents()
    yield
    assert contents() == before


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """Where the data of the folders' configs lie."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def folder(tmp_path):
    """A copy of one of the folders."""
    return lambda name: Path(shutil.copytree(EARLIER / name, tmp_path / name))


def test_a_run_goes_on_to_the_same_end(folder):
    run = folder("images")
    metrics = train.run(images(), run)
    assert metrics == pytest.approx({**metrics, **EXPECTED["images_whole"]}, rel=1e-5)
    found = trees.flatten(open_run(run).variables())
    with np.load(EARLIER / "images_whole.npz") as whole:
        assert set(found) == set(whole.files)
        for path, leaf in found.items():
            np.testing.assert_allclose(leaf, whole[path], rtol=0, atol=1e-5, err_msg=path)
    trained = [line["step"] for line in log.read(run) if line.get("split") == "train"]
    assert trained == list(range(1, 13))


def test_a_run_of_texts_predicts_what_it_did():
    probs, names = predict.predict(EARLIER / "texts", ["the day good", "the day bad", "the"])
    np.testing.assert_allclose(probs, EXPECTED["texts_probs"], rtol=0, atol=1e-5)
    assert names == ["bad", "good"]


def test_a_run_of_translations_writes_what_it_did():
    table, _ = predict.table(EARLIER / "translations", ["the good", "the poor"])
    assert table["written"].tolist() == EXPECTED["translations_written"]


@pytest.mark.parametrize("name", ["texts", "translations"])
def test_a_run_that_has_ended_is_evaluated_again(name, folder):
    """The same command in its folder, with the config that is stored there."""
    run = folder(name)
    metrics = train.run(open_run(run).config, run)
    assert metrics == pytest.approx({**metrics, **EXPECTED[name]}, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("images", ("3.1\u202f%", "2.481", "Ankle boot")),
        ("texts", ("100.0\u202f%", "0.584", "good")),
        ("translations", ("37.0", "1.792", "fine day")),
    ],
)
def test_a_run_is_reported(name, shown, folder, capsys):
    """Accuracy or chrF, loss or perplexity as the logs have them, and a class or what was written."""
    run = folder(name)
    run_command(report.main, ["report", str(run)])
    page = (run / "report.html").read_text()
    assert [text for text in shown if text not in page] == []


def tensors_of(run):
    """The parameters of a run by their paths, without the name of the collection."""
    return {path.split("/", 1)[1]: leaf for path, leaf in trees.flatten(open_run(run).variables()).items()}


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("images", "timm"),
        ("images", "hf"),
        ("images", "safetensors"),
        ("texts", "safetensors"),
        ("translations", "hf"),
        ("translations", "safetensors"),
    ],
)
def test_a_run_is_exported(name, format, tmp_path, capsys):
    run_command(export.main, ["export", str(EARLIER / name), str(tmp_path / "new"), f"--format={format}"])
    model, variables, report = weights.restore(tmp_path / "new")
    assert report.reinitialised == ()
    assert model.stages == open_run(EARLIER / name).model.stages
    own = tensors_of(EARLIER / name)
    for path, leaf in trees.flatten(variables["params"]).items():
        np.testing.assert_array_equal(leaf, own[path], err_msg=path)
    if format != "safetensors":
        held = load_file(tmp_path / "new/model.safetensors")
        assert {"head.weight", "classifier.weight", "decoder.final_layer_norm.weight"} & set(held)
    if name != "images":
        vocabulary = (EARLIER / "tokenizer/vocab.txt").read_text()
        assert (tmp_path / "new/vocab.txt").read_text() == vocabulary


@pytest.mark.parametrize("format", ["timm", "hf", "safetensors"])
def test_a_converted_checkpoint_is_exported(format, tmp_path, capsys):
    run_command(export.main, ["export", str(EARLIER / "converted"), str(tmp_path / "new"), f"--format={format}"])
    _, back, _ = weights.restore(tmp_path / "new")
    with np.load(EARLIER / "images_whole.npz") as whole:
        for path, leaf in trees.flatten(back).items():
            np.testing.assert_array_equal(leaf, whole[path], err_msg=path)


def test_what_was_only_renamed_is_no_difference(folder):
    config = images()
    config.optim.lr = 0.5
    with pytest.raises(InputError, match=r"run of another config; take another workdir. optim.lr: 0.001 → 0.5$"):
        train.run(config, folder("images"))
