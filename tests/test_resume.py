"""A run that is killed at any moment and started again ends as one that was never stopped, bit for bit."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jtransfer import config as configs
from jtransfer import runs, train
from jtransfer.core import tree as trees
from jtransfer.runs import config_file, log
from jtransfer.runs import folder as workdir
from jtransfer.training import checkpoint

ROOT = Path(__file__).parent.parent
CONFIG = "tests/tiny_run.py"
TWO_PHASES = f"{CONFIG}:2"
CLOCKS = ("examples_per_second", "data_wait_ms", "device_ms", "host_ms", "seconds", "peak_rss_mb", "device_memory_mb")

STARTED = []
CACHED = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def start(workdir, *args, config=CONFIG, module="jtransfer.main", devices=1, **env):
    """A process of its own; it reads the compilation cache but does not write it, as it may be killed in the middle."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9",
        **env,
    }
    command = [sys.executable, "-m", module, f"--config={config}", f"--workdir={workdir}", *args]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    STARTED.append(subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def none_is_left():
    yield
    for process in STARTED:
        process.kill()
        process.communicate()
    STARTED.clear()


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def kill_when(process, happens) -> bool:
    """Kills the process (signal 9) at the moment that `happens()`; False if it ended before that."""
    end = time.monotonic() + 120
    while not happens():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "the moment did not come"
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def bits(workdir, step=None):
    held = {f"{average}/{path}": leaf for average in (True, False) for path, leaf in leaves(workdir, step, average)}
    return {path: (leaf.dtype, leaf.shape, leaf.tobytes()) for path, leaf in held.items()}


def leaves(workdir, step=None, average=True):
    return trees.flatten(checkpoint.load_params(workdir, step, average=average)).items()


def lines(workdir):
    """The log without what a clock says."""
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in log.read(workdir)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that is never stopped."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    process = start(workdir, **CACHED)
    out, err = finish(process)
    assert not err, "a normal run writes nothing on standard error"
    assert "report:" in out
    return workdir


def logged(workdir, text):
    path = workdir / log.FILE
    return lambda: path.exists() and text in path.read_text()


def writing(folder, since=0.0):
    """A folder that Orbax is in the middle of writing, `since` seconds after it was first seen."""
    seen = []

    def happens():
        if folder.exists() and any("tmp" in path.name for path in folder.iterdir()):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= since

    return happens


def delay(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def test_killed_again_and_again(whole, tmp_path):
    workdir, rng = tmp_path / "run", random.Random(0)
    moments = {
        "the folder is made": workdir.exists,
        "its first file is written": lambda: workdir.exists() and any(workdir.iterdir()),
        "the frozen part of the first phase is written": writing(workdir / "base"),
        "the first step is logged": logged(workdir, '"step": 1, "phase": "probe", "split": "train"'),
        "the first checkpoint is written": writing(workdir / "checkpoints"),
        "a checkpoint is written, a little later": writing(workdir / "checkpoints", since=0.01),
        "the first phase ends": logged(workdir, '"event": "phase_end"'),
        "the second phase begins": logged(workdir, '"phase": "top", "event": "phase_start"'),
        "the frozen part of the second phase is written": writing(workdir / "base"),
        "a step of the second phase is logged": logged(workdir, '"step": 9,'),
        "the second phase is evaluated": logged(workdir, '"step": 9, "phase": "top", "split": "test"'),
        "any moment": delay(rng.uniform(0.5, 8)),
        "the third phase begins": logged(workdir, '"phase": "more", "event": "phase_start"'),
        "the last evaluation is logged": logged(workdir, '"step": 18, "phase": "more", "split": "test"'),
    }
    kills = sum(kill_when(start(workdir), happens) for happens in moments.values())
    assert kills >= len(moments) - 2
    finish(start(workdir))

    assert bits(workdir) == bits(whole)
    assert lines(workdir) == lines(whole)
    assert Counter(json.dumps(line) for line in lines(workdir)).most_common(1)[0][1] == 1
    assert not [path for path in workdir.rglob("*tmp*") if "checkpoints" in path.parts]


@pytest.mark.parametrize("written", range(4))
def test_killed_while_the_folder_is_claimed(tmp_path, monkeypatch, written):
    config = configs.complete(config_file.load(str(ROOT / CONFIG)))

    def replace_or_die(path, target):
        if len(list(tmp_path.glob("*.json"))) == written:
            raise Stopped
        return original(path, target)

    kind = type(epath.Path(tmp_path))
    original = kind.replace
    monkeypatch.setattr(kind, "replace", replace_or_die)
    with contextlib.suppress(Stopped):
        workdir.claim(tmp_path, config, ["a", "b"])
    assert len(list(tmp_path.glob("*.json"))) == min(written, 3)
    workdir.check(tmp_path, config)


def cluster(workdir, *args, config=None, **settings):
    """Two processes with one device each, found as under Slurm."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    env = {
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
    }
    ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    return [
        start(workdir, "--distributed", *args, config=config or TWO_PHASES, **env, **rank, **settings) for rank in ranks
    ]


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("two") / "run"
    finish(start(workdir, config=TWO_PHASES, devices=2, **CACHED))
    return workdir


def test_two_processes_train_what_one_does(on_two_devices, tmp_path):
    workdir = tmp_path / "run"
    outputs = [finish(process) for process in cluster(workdir, module="tests.slow_process", **CACHED)]
    assert not any(err for _, err in outputs)
    assert "report:" in outputs[0][0]
    assert "step" not in outputs[1][0]
    assert bits(workdir) == bits(on_two_devices)
    assert lines(workdir) == lines(on_two_devices)
    assert len(list(workdir.glob("events.out.tfevents*"))) == 1


def test_begun_on_two_processes_continued_on_one(on_two_devices, tmp_path):
    workdir = tmp_path / "run"
    processes = cluster(workdir)
    killed = kill_when(processes[0], logged(workdir, '"step": 9, "phase": "top", "split": "train"'))
    kill_when(processes[1], lambda: True)
    assert killed
    finish(start(workdir, config=TWO_PHASES, devices=2))
    assert bits(workdir) == bits(on_two_devices)
    assert lines(workdir) == lines(on_two_devices)


STOPPING = (
    "--config.data.validation=train[64:96]",
    "--config.early_stop.metric=loss",
    "--config.early_stop.patience=2",
    "--config.eval_every=1",
    "--config.checkpoint_every=1000",
    "--config.optim.lr=0.02",
    "--config.optim.ema=0",
)


class Stopped(Exception):
    pass


def stop_after_saves(monkeypatch, number):
    """The run goes down right after so many checkpoints."""
    left = iter(range(number - 1))

    def save(*args, **kwargs):
        original(*args, **kwargs)
        if next(left, None) is None:
            raise Stopped

    original = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", save)


def test_without_a_validation_split_little_is_lost_either(tmp_path, monkeypatch):
    config = config_file.load(str(ROOT / TWO_PHASES), ("--config.checkpoint_every=1000", "--config.eval_every=3"))
    assert not config.data.validation
    stop_after_saves(monkeypatch, 5)
    with pytest.raises(Stopped):
        train.run(config, tmp_path)
    assert checkpoint.resolve(tmp_path) == 3


def test_early_stop_is_exact_over_a_resume_and_the_best_is_kept(tmp_path, monkeypatch):
    config = config_file.load(str(ROOT / TWO_PHASES), STOPPING)
    train.run(config, tmp_path / "whole")
    stops = [line for line in lines(tmp_path / "whole") if line.get("event") == "early_stop"]
    assert stops, "the run is to stop early"

    ended = False
    while not ended:
        if damaged := sorted((tmp_path / "stopped").glob("checkpoints/4")):
            data = max((damaged[0] / "state/d").iterdir(), key=lambda path: path.stat().st_size)
            data.write_bytes(data.read_bytes()[::-1])
            shutil.rmtree(tmp_path / "stopped/base/probe")
        with monkeypatch.context() as patch:
            stop_after_saves(patch, 4)
            try:
                train.run(config, tmp_path / "stopped")
                ended = True
            except Stopped:
                pass
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")

    losses = {line["step"]: line["loss"] for line in lines(tmp_path / "whole") if line.get("split") == "validation"}
    best = min(losses, key=losses.get)
    last = max(losses)
    assert best != last
    kept = {path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()}
    assert kept == {str(best), str(last - 1), str(last), "4.damaged"}
    assert bits(tmp_path / "stopped", "best") == bits(tmp_path / "whole", best)
    assert validation_loss(tmp_path / "stopped", "best") == pytest.approx(losses[best], rel=1e-5)
    assert validation_loss(tmp_path / "stopped", "last") == pytest.approx(losses[last], rel=1e-5)
    assert validation_loss(tmp_path / "stopped", None) == pytest.approx(losses[best], rel=1e-5)


def validation_loss(workdir, step):
    """By hand: images are resized and normalised with numpy, the loss is the mean of -log softmax at the label."""
    run = runs.open(workdir)
    source = run.source("validation")
    pictures = (Image.fromarray(source[i]["image"]) for i in range(len(source)))
    images = [np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR)) for picture in pictures]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    inputs = ((np.stack(images) / 255 - mean) / std).astype(np.float32)
    logits = np.asarray(run.model.apply(run.variables(step), inputs), np.float64)
    logits -= logits.max(1, keepdims=True)
    chosen = logits[np.arange(len(source)), source.labels]
    return (np.log(np.exp(logits).sum(1)) - chosen).mean()
