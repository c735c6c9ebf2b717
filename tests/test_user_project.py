"""A project of a user's own, no part of the package: each piece is one short file, which the ordinary commands take."""

import json
import os
import shutil
from pathlib import Path

import jax.export
import numpy as np
import pytest
from safetensors.numpy import load_file

from jtransfer import export, main, predict, report, runs, weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.core.registry import load
from jtransfer.models import forward
from jtransfer.peft import slots
from jtransfer.runs import log
from jtransfer.serving.engine import Engine
from jtransfer.serving.model import Model
from jtransfer.serving.sent import Sent

PROJECT = Path(__file__).parent / "user_project"
CONFIG = f"{PROJECT}/config.py:{PROJECT}/signal_net.pth"
PIECES = ("signals", "detect", "network", "recordings", "stay", "noise", "balanced", "gain")


def command(folder, *args):
    run_command(main.main, ["main", f"--config={CONFIG}", f"--workdir={folder}", *args])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project") / "run"
    command(folder)
    return folder


@pytest.fixture
def recordings(tmp_path):
    """Files of eight recordings that no run has seen, and whether there is a tone in each."""
    make = load(f"{PROJECT}/recordings.py:recording")
    for number in range(8):
        np.save(tmp_path / f"{number}.npy", make(5000 + number))
    return [str(tmp_path / f"{number}.npy") for number in range(8)], [number % 2 == 1 for number in range(8)]


@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_is_one_short_file(piece):
    assert len((PROJECT / f"{piece}.py").read_text().splitlines()) < 60


def test_it_learns_and_says_so(run):
    lines = log.read(run)
    tested = [line for line in lines if line.get("split") == "test"][-1]
    assert tested["accuracy"] > 0.9
    assert tested["balanced_accuracy"] == pytest.approx(tested["accuracy"])  # both classes are as often there
    loaded = next(line for line in lines if line.get("event") == "init")
    assert (loaded["scheme"], loaded["loaded"], loaded["reinitialised"]) == ("torch", 8, [])
    steps = [line["step"] for line in lines if "noisy_accuracy" in line]
    assert steps == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]
    assert {line["split"] for line in lines if "noisy_accuracy" in line} == {"validation"}


def test_the_term_holds_the_parameters_where_they_were(run, tmp_path):
    trained = [line for line in log.read(run) if line.get("split") == "train"]
    assert trained[0]["distance"] < trained[-1]["distance"]
    assert trained[-1]["loss"] == pytest.approx(trained[-1]["task"] + 1e-3 * trained[-1]["stay"], rel=1e-5)
    strong = f"--config.objective=[('task', 1.0), ('{PROJECT}/stay.py:stay', {{'weight': 10.0}})]"
    command(tmp_path / "run", strong)
    held = [line for line in log.read(tmp_path / "run") if line.get("split") == "train"]
    assert held[-1]["distance"] < trained[-1]["distance"] / 4


def test_stopped_it_goes_on_to_the_same_bits(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    kept = sorted(int(path.name) for path in (tmp_path / "run/checkpoints").iterdir())
    shutil.rmtree(tmp_path / f"run/checkpoints/{kept[-1]}")
    command(tmp_path / "run")
    again, whole = (weights.open(folder / "checkpoints/40/state") for folder in (tmp_path / "run", run))
    for name, tensor in whole.tensors.items():
        np.testing.assert_array_equal(again.tensors[name].read(), tensor.read(), err_msg=name)


def test_it_is_reported(run):
    run_command(report.main, ["report", str(run)])
    page = (run / "report.html").read_text()
    assert "balanced accuracy" in page
    assert "phase finetune" in page or "finetune" in page


def test_it_predicts(run, recordings, capsys):
    paths, tones = recordings
    run_command(predict.main, ["predict", f"--workdir={run}", *paths])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] == "tone" for line in lines] == tones


def test_it_is_served(run, recordings):
    paths, _ = recordings
    engine = Engine(Model(runs.open(run)), 4)
    assert engine.takes == ("file",)
    items = [engine.prepare(Sent(Path(path).read_bytes(), path)) for path in paths[:3]]
    expected, _ = predict.table(run, paths[:3])
    for item, table, logits in zip(items, engine.compute(items), expected["logits"], strict=True):
        np.testing.assert_allclose(engine.answer(item, table, 5)["logits"], logits, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="the file can't be read"):
        engine.prepare(Sent(b"broken", "a.npy"))


def test_it_is_adapted_by_a_method_of_its_own_which_a_later_process_finds(recordings, tmp_path, monkeypatch, capsys):
    rows = f"[('conv', '{PROJECT}/gain.py:GAIN', {{'start': 0.9}})]"
    phases = ["--config.phases[0].steps=2", "--config.phases[1].steps=2", "--config.phases[1].trainable=adapters/.*"]
    command(tmp_path / "run", f"--config.adapters={rows}", *phases)
    stored = runs.open(tmp_path / "run")
    expected, adapters = stored.model.apply(stored.merged(), stored.sample), stored.variables()["adapters"]
    monkeypatch.setattr(slots, "_BROUGHT", {})
    with pytest.raises(InputError, match="belongs to no known adapter"):
        list(slots.split(adapters))
    later = runs.open(tmp_path / "run")
    found, _ = forward.apply(later.model, later.variables(), later.sample)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert slots.slot_of(os.path.relpath(PROJECT / "gain.py") + ":GAIN") == "GAIN"
    assert predict.table(tmp_path / "run", recordings[0])[0]["logits"].shape == (8, 2)

    shutil.copy(PROJECT / "gain.py", tmp_path / "run")
    config = tmp_path / "run/config.json"
    config.write_text(config.read_text().replace(f"{PROJECT}/gain.py", f"{tmp_path}/run/gain.py"))
    with pytest.raises(InputError, match="code that comes with a run is not run"):
        runs.open(tmp_path / "run")


def test_it_is_exported_under_torch_s_names_and_read_back(run, tmp_path):
    run_command(export.main, ["export", str(run), str(tmp_path / "new"), "--format=torch"])
    tensors = load_file(tmp_path / "new/model.safetensors")
    assert set(tensors) >= {"conv.weight", "conv.bias", "norm.running_mean", "head.weight"}
    assert tensors["conv.weight"].shape == (8, 1, 9)
    source = json.loads((tmp_path / "new/source.json").read_text())
    assert source["model"]["name"].endswith("network.py:SignalNet")
    assert source["class_names"] == ["noise", "tone"]


def test_the_exported_program_predicts_the_same(run, recordings, tmp_path):
    run_command(export.main, ["export", str(run), str(tmp_path / "new"), "--format=stablehlo"])
    program = jax.export.deserialize(bytearray((tmp_path / "new/model.stablehlo").read_bytes()))
    paths, tones = recordings
    logits = program.call(dict(np.load(tmp_path / "new/weights.npz")), np.stack([np.load(path) for path in paths]))
    np.testing.assert_array_equal(np.asarray(logits)[:, 0] > 0, tones)
    table, _ = predict.table(run, paths)
    np.testing.assert_allclose(logits, table["logits"], rtol=1e-5, atol=1e-5)


def test_the_weights_compute_what_torch_computes():
    model = load(f"{PROJECT}/network.py:SignalNet")(2)
    stored = np.load(PROJECT / "signal_net.npz")
    variables, _ = weights.load(PROJECT / "signal_net.pth", model, sample=stored["x"])
    np.testing.assert_allclose(model.apply(variables, stored["x"]), stored["y"], rtol=1e-5, atol=1e-5)


WRONG = {
    "model.name=nowhere.py:Net": "there is no file 'nowhere.py'",
    f"model.name={PROJECT}/network.py:Net": "nearest: SignalNet",
    f"model.fields.widht={3}": "nearest: width",
    "modality=no.such:Thing": "No module named 'no'",
    "data.windw=3": "nearest: --config.data.window",
    "data.transform=resize(3)": "data.transform is for images, and these are signals",
    "metrics=('loss',)": "metric that is computed",
    "objective=[('taks',1.0)]": "unknown objective term 'taks'; nearest: task",
    "objective=[('task','much')]": "the weight of 'task' is 'much'",
    "evals[2].fields.strenght=2": "'strenght'",
    "cutmix=1.0": "cutmix=1.0 can't be done with signals",
    "phases[0].trainable=1": "the model has no stages",
    "phases[0].cache=true": "cache",
    "optim.layer_decay=0.5": "stages",
}


@pytest.mark.parametrize("override", WRONG)
def test_what_is_wrong_is_said_in_one_line(override, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        command(tmp_path / "run", f"--config.{override}")
    err = capsys.readouterr().err
    assert exit.value.code == 2
    assert err.count("\n") == 1, err
    assert WRONG[override] in err
    assert not (tmp_path / "run").exists()
