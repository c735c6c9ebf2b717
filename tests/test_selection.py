"""The best model by the validation split is what a run goes on with, tests, predicts with, exports and hands on."""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import test_resume as resuming
import tiny_vectors

from jtransfer import config as configs
from jtransfer import evaluate, predict, report, runs, train
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.runs import config_file, log, selection
from jtransfer.training import checkpoint


def config_of(folder, **fields):
    """A first phase that soon diverges, and a second one that changes nothing."""
    config = tiny_vectors.config_of(folder)
    config.data.train, config.data.validation, config.data.test = "train[:16]", "train[16:]", "test"
    config.early_stop.metric = "loss"
    config.optim.name, config.optim.lr, config.optim.schedule = "sgd", 10.0, "constant"
    config.optim.kwargs.momentum = 0.0
    config.eval_every = config.checkpoint_every = 1
    config.phases = [
        configs.phase("diverging", steps=5),
        configs.phase("still", trainable="head/.*", steps=2, optim={"lr": 0.0}),
    ]
    with config.unlocked():
        config.update(fields)
    return config


def trained(folder, **fields):
    """(the folder of a run, what it returned, step → the parameters, what it printed)."""
    kept, original, printed = {}, checkpoint.save, io.StringIO()

    def save(checkpoints, step, state, *args, **kwargs):
        kept[step] = jax.device_get(state.variables()["params"])
        original(checkpoints, step, state, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(checkpoint, "save", save)
        return folder / "run", train.run(config_of(folder, **fields), folder / "run"), kept, printed.getvalue()


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("best"))


def validated(folder):
    """Step → the loss on the validation split, by the log."""
    return {line["step"]: line["loss"] for line in log.read(folder) if line.get("split") == "validation"}


def best_of(folder, until=7):
    """The step with the least loss on the validation split, of equals the last."""
    losses = {step: loss for step, loss in validated(folder).items() if step <= until}
    return max(step for step, loss in losses.items() if loss == min(losses.values()))


def by_hand(folder, params, split, order=slice(None)):
    """(loss, accuracy, probabilities) of the network of two layers, with NumPy."""
    arrays = np.load(folder.parent / "vectors.npz")
    x_train = arrays["x_train"]
    x, y = {"test": (arrays["x_test"], arrays["y_test"]), "validation": (x_train[16:], arrays["y_train"][16:])}[split]
    x = (x[order] - x_train[:16].mean(0)) / x_train[:16].std(0)
    for name in ("hidden1", "hidden2", "head"):
        x = x @ params[name]["dense"]["kernel"] + params[name]["dense"]["bias"]
        x = x if name == "head" else np.maximum(x, 0)
    probs = np.exp(x - x.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    y = y[order]
    return -np.log(probs[np.arange(len(y)), y]).mean(), (probs.argmax(1) == y).mean(), probs


def same(one, other):
    one, other = trees.flatten(one), trees.flatten(other)
    assert set(one) == set(other)
    for path, leaf in one.items():
        np.testing.assert_array_equal(leaf, other[path], err_msg=path)


def test_the_next_phase_begins_with_the_best(best):
    folder, _, kept, _ = best
    losses = validated(folder)
    step = best_of(folder, until=5)
    assert step < 5, "the first phase is to get worse"
    same(kept[7], kept[step])
    assert losses[7] == pytest.approx(losses[step], rel=1e-6)
    events = [line for line in log.read(folder) if line.get("event") == "best"]
    assert [(line["phase"], line["step"], line["best_step"], line["metric"]) for line in events] == [
        ("diverging", 5, step, "loss"),
        ("still", 7, best_of(folder), "loss"),
    ]
    assert events[0]["value"] == pytest.approx(by_hand(folder, kept[step], "validation")[0], rel=1e-5)


def test_the_last_is_taken_if_the_best_is_damaged(tmp_path, monkeypatch, capsys):
    original, run = selection.state, tmp_path / "run"

    def damaged(prepared, last, position):
        if int(last.step) == 5:
            shutil.rmtree(run / f"checkpoints/{position.selected}/state")
        return original(prepared, last, position)

    monkeypatch.setattr(selection, "state", damaged)
    _, _, kept, printed = trained(tmp_path)
    lost = best_of(run, until=5)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"checkpoints/{lost} is damaged" in err
    assert "; the phase ends with step " in err
    taken = int(re.search(r"ends with step (\d) instead", err)[1])
    assert taken != lost
    same(kept[7], kept[taken])
    assert f"at step {lost}" not in printed


def test_the_best_is_tested_predicted_with_exported_and_given_on(best, tmp_path):
    folder, returned, kept, _ = best
    step = best_of(folder)
    loss, accuracy, probs = by_hand(folder, kept[step], "test")
    assert (returned["loss"], returned["accuracy"]) == pytest.approx((loss, accuracy), rel=1e-5)
    tested = [line["loss"] for line in log.read(folder) if line.get("split") == "test"]
    assert tested == pytest.approx([loss, loss], rel=1e-5)
    np.testing.assert_allclose(runs.open(folder).predictions["probs"], probs, rtol=1e-4, atol=1e-6)
    same(runs.open(folder).variables()["params"], kept[step])
    same(runs.open(folder).variables("last")["params"], kept[7])
    vector = np.load(folder.parent / "vectors.npz")["x_test"][0]
    found, _ = predict.predict(folder, [",".join(map(str, vector))])
    np.testing.assert_allclose(found, probs[:1], rtol=1e-4, atol=1e-6)
    export.export(folder, tmp_path / "new", "npz")
    with np.load(tmp_path / "new/model.npz") as tensors:
        np.testing.assert_array_equal(tensors["params/head/dense/kernel"], kept[step]["head"]["dense"]["kernel"])
    config = config_of(tmp_path, init=str(folder))
    config.phases = [configs.phase("still", steps=1, optim={"lr": 0.0})]
    train.run(config, tmp_path / "next")
    same(runs.open(tmp_path / "next").variables("last")["params"], kept[step])


def test_a_run_that_had_ended_gives_the_metrics_of_the_best_again(best):
    folder, returned, _, _ = best
    assert train.run(config_of(folder.parent), folder) == pytest.approx(returned, rel=1e-6)


def test_the_last_is_kept_where_the_config_says_so(tmp_path):
    folder, returned, kept, _ = trained(tmp_path, model_selection="last")
    same(kept[7], kept[5])
    assert returned["loss"] == pytest.approx(by_hand(folder, kept[5], "test")[0], rel=1e-4)
    same(runs.open(folder).variables()["params"], kept[7])
    same(runs.open(folder).variables("best")["params"], kept[best_of(folder)])
    assert not [line for line in log.read(folder) if line.get("event") == "best"]
    with pytest.raises(InputError, match="model_selection 'bset'; nearest: best"):
        train.run(config_of(tmp_path, model_selection="bset"), tmp_path / "other")


def test_without_a_validation_split_the_last_is_the_model(tmp_path):
    config = config_of(tmp_path)
    config.data.validation = config.early_stop.metric = ""
    returned = train.run(config, tmp_path / "run")
    last = runs.open(tmp_path / "run").variables("last")["params"]
    same(runs.open(tmp_path / "run").variables()["params"], last)
    assert returned["loss"] == pytest.approx(by_hand(tmp_path / "run", last, "test")[0], rel=1e-4)


def test_the_step_and_the_reason_are_told(best, tmp_path):
    folder, _, kept, printed = best
    step = best_of(folder)
    value = by_hand(folder, kept[step], "validation")[0]
    assert f"phase still ends with the best model: validation loss {value:.4f} at step {step}" in printed
    shutil.copytree(folder, tmp_path / "run")
    report.main(["report", str(tmp_path / "run")])
    text = " ".join((tmp_path / "run/report.html").read_text().split())
    assert f"The model is that of step {step}, with the best validation loss, {value:.3f}" in text


CONFIG = """
import pathlib, sys
sys.path.insert(0, {tests!r})
import test_selection

def get_config(accumulate="2"):
    config = test_selection.config_of(pathlib.Path({folder!r}))
    config.optim.accumulate, config.loss.balanced = int(accumulate), True
    config.data.train, config.data.sampling = "train[:14]", "balanced"
    return config
"""


def test_two_processes_see_in_parts_what_one_sees_at_once(tmp_path):
    """With weights of the classes, and a second phase that begins with the best of the first."""
    config_of(tmp_path)
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    train.run(config_file.load(f"{path}:1"), tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming, "TWO_PHASES", str(path))
        for process in resuming.cluster(tmp_path / "two", **resuming.CACHED):
            resuming.finish(process)
    for name in ("best", "last"):
        one, two = (trees.flatten(runs.open(tmp_path / folder).variables(name)) for folder in ("one", "two"))
        for path, leaf in one.items():
            np.testing.assert_allclose(two[path], leaf, rtol=1e-5, atol=1e-6, err_msg=path)
    one, two = (
        [(line["step"], line.get("event"), line.get("loss")) for line in log.read(tmp_path / name)]
        for name in ("one", "two")
    )
    assert [line[:2] for line in one] == [line[:2] for line in two]
    np.testing.assert_allclose(*([line[2] for line in lines if line[2]] for lines in (one, two)), rtol=1e-4)


def test_steps_that_an_early_stop_leaves_out_are_no_more_counted(tmp_path):
    config = config_of(tmp_path)
    config.early_stop.patience = 1
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        train.run(config, tmp_path / "run")
    assert "diverging  2/7  train" in printed.getvalue()
    assert "still  3/4  train" in printed.getvalue()
    assert re.search("still  4/4  train .* 0:00 left", printed.getvalue())


def test_later_phases_say_what_was_drawn_anew(best, tmp_path, monkeypatch):
    """Whether they follow at once or after the run was stopped between two."""
    config = config_of(tmp_path, init=str(best[0]), reinit=("head/.*",))
    config.phases = [configs.phase("probe", trainable="head/.*", steps=1), configs.phase("all", steps=1)]
    original = checkpoint.save

    def save(checkpoints, step, *args, **kwargs):
        original(checkpoints, step, *args, **kwargs)
        checkpoints.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train.run(config, tmp_path / "stopped")
    monkeypatch.setattr(checkpoint, "save", original)
    for name in ("whole", "stopped"):
        train.run(config, tmp_path / name)
        tables = [line["table"] for line in log.read(tmp_path / name) if line.get("event") == "phase_start"]
        for table in tables:
            sources = {row["group"]: row["source"] for row in table}
            assert sources == {"hidden1": "loaded", "hidden2": "loaded", "head": "re-initialised"}
        assert len(tables) == 2


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_any_checkpoint_is_evaluated_on_any_data(best, tmp_path, capsys):
    folder, returned, kept, _ = best
    step = best_of(folder)
    before = contents(folder)
    found = evaluate.evaluate(folder)
    assert (found.step, found.split, found.examples) == (step, "test", 16)
    assert found.metrics == pytest.approx(returned, rel=1e-5)
    for chosen in ("last", 7):
        assert evaluate.evaluate(folder, chosen, split="validation").metrics["loss"] == pytest.approx(
            validated(folder)[7], rel=1e-5
        )
    part = evaluate.evaluate(folder, "last", split="test[:5]")
    assert part.metrics["loss"] == pytest.approx(by_hand(folder, kept[7], "test", slice(5))[0], rel=1e-5)
    arrays = np.load(folder.parent / "vectors.npz")
    order = np.flatnonzero(arrays["y_test"] != 1)
    labels = np.array(["2", "0"])[(arrays["y_test"][order] == 0).astype(int)]  # two of the three classes, by name
    np.savez(tmp_path / "two.npz", features=arrays["x_test"][order], labels=labels)
    out = tmp_path / "found.json"
    evaluate.main(["evaluate", str(folder), f"--data=npz:{tmp_path}/two.npz", "--split=all", f"--out={out}"])
    loss, accuracy, _ = by_hand(folder, kept[step], "test", order)
    told = json.loads(out.read_text())
    assert (told["step"], told["examples"], told["split"]) == (step, len(order), "all")
    assert (told["metrics"]["loss"], told["metrics"]["accuracy"]) == pytest.approx((loss, accuracy), rel=1e-5)
    assert f"accuracy {accuracy:.4f}" in " ".join(capsys.readouterr().out.split())
    assert contents(folder) == before


def test_other_fields_of_the_data_by_flag(best, tmp_path, capsys):
    folder, returned, _, _ = best
    arrays = np.load(folder.parent / "vectors.npz")
    rows = [",".join(map(str, [*x.tolist(), y])) for x, y in zip(arrays["x_test"], arrays["y_test"], strict=True)]
    names = [f"x{i}" for i in range(arrays["x_test"].shape[1])]
    (tmp_path / "other.csv").write_text("\n".join([",".join([*names, "species"]), *rows]))
    source = [f"--data=csv:{tmp_path}/other.csv", "--split=all"]
    out = tmp_path / "found.json"
    given = ["evaluate", str(folder), *source, "--data.label_key=species", "--data.labels=class", f"--out={out}"]
    evaluate.main(given)
    assert json.loads(out.read_text())["metrics"] == pytest.approx(returned, rel=1e-5)
    wrong = {
        "--data.labelkey=x": "unknown config field '--data.labelkey'; nearest: --data.label_key",
        "--data.label_key": "--data.label_key: write --data.field=value",
        "--data.threads=two": "--data.threads=two: must be of type int, like 2",
        "--data.text_key=text": "data.text_key is for texts, and the run's are vectors; leave it out",
        "--data.name=npz:x": "write --data=NAME",
    }
    for flag, says in wrong.items():
        with pytest.raises(SystemExit) as ended:
            run_command(evaluate.main, ["evaluate", str(folder), flag])
        error = capsys.readouterr().err
        assert (ended.value.code, says in error, error.count("\n")) == (2, True, 1), error


def test_two_processes_evaluate_as_one_does(best, tmp_path):
    folder, returned, _, _ = best
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    out = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.evaluate_process", port]
    place = {"cwd": Path(__file__).parents[1], "env": os.environ | {"JAX_PLATFORMS": "cpu"}}
    pipe, rest = subprocess.PIPE, [str(folder), f"--out={out}"]
    both = [subprocess.Popen([*command, rank, *rest], stdout=pipe, stderr=pipe, text=True, **place) for rank in "01"]
    try:
        told = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], told
    finally:
        for process in both:
            process.kill()
    assert json.loads(out.read_text())["metrics"] == pytest.approx(returned, rel=1e-5)
    assert ["accuracy" in printed for printed, _ in told] == [True, False]


def test_what_cannot_be_evaluated_is_said_in_one_line(best, tmp_path, capsys):
    folder, _, _, _ = best
    arrays = np.load(folder.parent / "vectors.npz")
    np.savez(tmp_path / "names.npz", features=arrays["x_test"], labels=np.array(["cat", "newt"] * 8))
    np.savez(tmp_path / "numbers.npz", features=arrays["x_test"], labels=np.linspace(0, 1, 16))
    np.savez(tmp_path / "wide.npz", features=np.ones((6, 9), np.float32), labels=arrays["y_test"][:6])
    wrong = {
        "--split=tset": "there is no split 'tset'; splits: train (32), test (16)",
        "--step=3000": "has no checkpoint of step 3000; it has",
        "--data=npz:none.npz": "none.npz",
        f"--data=npz:{tmp_path}/names.npz": "the run was not trained for: cat, newt; the run's are 0, 1, 2",
        f"--data=npz:{tmp_path}/numbers.npz": "needs labels of the kind 'class'; these are 'number'",
        f"--data=npz:{tmp_path}/wide.npz": "the run's model can't take inputs of the shape [9]",
        f"--out={tmp_path}/none/found.json": "there is no such folder",
        "--steps=best": "Unknown command line flag 'steps'",
    }
    for flag, says in wrong.items():
        more = ["--split=all"] if "npz" in flag else []
        with pytest.raises(SystemExit) as ended:
            run_command(evaluate.main, ["evaluate", str(folder), flag, *more])
        error = capsys.readouterr().err
        assert ended.value.code == 2
        assert says in error
        assert error.count("\n") == 1


def test_other_data_are_read_as_those_of_the_run(tmp_path):
    """Whole numbers written as 2.0 are classes to a run whose task says so, and to its evaluation."""
    config = tiny_vectors.config_of(tmp_path)
    with np.load(tmp_path / "vectors.npz") as held:
        arrays = {name: x.astype(float) if name[0] == "y" else x for name, x in held.items()}
    np.savez(tmp_path / "vectors.npz", **arrays)
    config.task = "classify"
    outcome = train.run(config, tmp_path / "run")
    found = evaluate.evaluate(tmp_path / "run")
    assert found.examples == 16
    assert found.metrics["accuracy"] == pytest.approx(outcome["accuracy"])
