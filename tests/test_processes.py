"""Processes of plain machines, which flags alone name; each keeps what it says."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jtransfer.core import process_log, processes, show
from jtransfer.core.errors import InputError

ROOT = Path(__file__).parent.parent
CONFIG = """
from jtransfer import config as configs

def get_config():
    config = configs.default()
    config.data.name = "npz:{data}"
    config.data.train, config.data.test = "train[:64]", "train[64:]"
    config.model.name = "mlp"
    config.model.fields.widths = (8,)
    config.batch_size = 16
    config.log_every = 1
    config.verdict.trivial = 0.0
    config.phases = [configs.phase("only", steps=3)]
    return config
"""


def test_two_processes_train_together_and_each_keeps_its_log(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", x_train=rng.normal(size=(96, 5)).astype(np.float32), y_train=rng.integers(0, 2, 96))
    (tmp_path / "config.py").write_text(CONFIG.format(data=tmp_path / "v.npz"))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    words = [
        sys.executable,
        "-m",
        "jtransfer.main",
        f"--config={tmp_path / 'config.py'}",
        f"--workdir={tmp_path / 'run'}",
    ]
    words += [f"--coordinator={coordinator}", "--processes=2"]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    both = [subprocess.Popen([*words, f"--process_id={i}"], env=env, **how) for i in range(2)]
    try:
        said = [process.communicate(timeout=300) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    first, second = ((tmp_path / f"run/logs/process-{i}.txt").read_text() for i in range(2))
    assert "workdir: " in first
    assert "report: " in first
    assert "workdir: " not in second
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert environment["processes"] == 2


def test_what_is_said_before_the_folder_is_there_is_written_later(tmp_path, monkeypatch):
    monkeypatch.setattr(process_log, "_log", None)
    monkeypatch.setattr(show, "HEARERS", [])
    process_log.begin()
    show.say("unheard")
    process_log.hear(tmp_path / "run", 3)
    show.say("one\ntwo")
    assert not (tmp_path / "run").exists()
    process_log.begin()
    show.say("three\x1b[2J", sys.stderr)
    process_log.begin()
    assert (tmp_path / "run/logs/process-3.txt").read_text() == "one\ntwo\nthree\\x1b[2J\n"


@pytest.mark.parametrize(
    ("coordinator", "number", "own", "says"),
    [
        ("", 2, 0, "--coordinator is missing"),
        ("h:1", None, 0, "--processes is missing"),
        ("h:1", 2, None, "--process_id is missing"),
        ("h", 2, 0, "--coordinator=h"),
        ("h:0", 2, 0, "--coordinator=h:0"),
        ("h:99999", 2, 0, "--coordinator=h:99999"),
        ("http://h:80", 2, 0, "--coordinator=http"),
        (":80", 2, 0, "--coordinator=:80"),
        ("h:80", 0, 0, "--process_id=0 of --processes=0"),
        ("h:80", 2, 2, "--process_id=2 of --processes=2"),
        ("h:80", 2, -1, "--process_id=-1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(coordinator, number, own, says):
    with pytest.raises(InputError, match=says):
        processes.of_flags(coordinator, number, own)


def test_flags_that_fit():
    assert processes.of_flags("", None, None) is None
    assert processes.of_flags("[::1]:8476", 2, 1) == ("[::1]:8476", 2, 1)
