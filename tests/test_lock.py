"""A folder is one run's at a time: a second is refused, and what a killed one leaves is taken over at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from etils.epath import backend
from jax.experimental import multihost_utils
from test_bucket import bucket  # noqa: F401

from jtransfer.core.errors import InputError
from jtransfer.runs import lock

ROOT = Path(__file__).parent.parent
HOLDER = """
import pathlib, sys, time
from jtransfer.runs import lock
with lock.hold(sys.argv[1]):
    pathlib.Path(sys.argv[1], "kept").touch()
    print("held", flush=True)
    time.sleep(100)
"""
OTHER = {"host": "elsewhere", "pid": 7, "since": "then", "boot": "another", "started": "1"}


def holder(folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_told_who_holds_the_folder_and_a_killed_one_holds_it_no_more(tmp_path):
    process = holder(tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for refused in (lambda: lock.check(tmp_path / "run"), lock.hold(tmp_path / "run").__enter__):
        with pytest.raises(InputError, match=rf"in use by a run \(process {process.pid} on \S+, since \d{{4}}-"):
            refused()
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lock.check(tmp_path / "run")
    with lock.hold(tmp_path / "run"):
        assert json.loads((tmp_path / "run/run.lock").read_text())["pid"] == os.getpid()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kept"]


def test_what_was_made_is_removed_where_nothing_came_into_it(tmp_path):
    with pytest.raises(KeyError), lock.hold(tmp_path / "a/b"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_the_lock_of_another_machine_counts_while_it_is_touched(tmp_path):
    path = tmp_path / lock.FILE
    path.write_text(json.dumps(OTHER))
    for refused in (lambda: lock.check(tmp_path), lock.hold(tmp_path).__enter__):
        with pytest.raises(InputError, match=r"process 7 on elsewhere, since then.* remove .*run\.lock"):
            refused()
    then = time.time() - lock.STALE - 1
    os.utime(path, (then, then))
    lock.check(tmp_path)
    with lock.hold(tmp_path):
        pass


@pytest.mark.parametrize("change", [{"pid": 2**22 + 5}, {"started": "1"}, {"host": "a container"}])
def test_a_process_that_is_no_more_holds_nothing(tmp_path, change):
    """Another process has its number, or none has; or it ran in a container on this machine."""
    (tmp_path / lock.FILE).write_text(json.dumps(lock._own()._asdict() | change))
    with lock.hold(tmp_path):
        pass


def test_without_the_kernels_lock_the_process_is_looked_for(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "flock", unknown)
    with lock.hold(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} on"):
        lock.hold(tmp_path).__enter__()
    (tmp_path / lock.FILE).write_text(json.dumps(lock._own()._asdict() | {"started": "1"}))
    with lock.hold(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"{", b"[1]", b'{"host": 1}', b"[" * 4000, b"\xff"])
def test_a_lock_that_says_nothing_is_taken(tmp_path, content):
    (tmp_path / lock.FILE).write_bytes(content)
    lock.check(tmp_path)
    with lock.hold(tmp_path):
        pass


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / lock.FILE)
    with pytest.raises(InputError, match=r"run|made or written"):
        lock.hold(tmp_path).__enter__()


def test_a_lock_that_was_removed_by_hand_is_anothers_from_then_on(tmp_path):
    with lock.hold(tmp_path):
        (tmp_path / lock.FILE).unlink()
        with lock.hold(tmp_path):
            (tmp_path / "kept").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_of_several_processes_the_first_holds_it_for_all(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda refused: told.append(bool(refused)) or refused)
    with lock.hold(tmp_path):
        monkeypatch.setattr(jax, "process_index", lambda: 1)
        with lock.hold(tmp_path):
            pass
        monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda refused: np.array(True))
        with pytest.raises(InputError, match="refused to process 0"):
            lock.hold(tmp_path).__enter__()
    assert told == [False, False]


def test_a_bucket_has_a_lock_too(bucket):  # noqa: F811
    bucket.mkdir(parents=True)
    with lock.hold("gs://bucket/run"):
        (bucket / "run/kept").touch()
        for refused in (lambda: lock.check("gs://bucket/run"), lock.hold("gs://bucket/run").__enter__):
            with pytest.raises(InputError, match=f"process {os.getpid()} on"):
                refused()
    assert [path.name for path in (bucket / "run").iterdir()] == ["kept"]
    (bucket / "run" / lock.FILE).write_text(json.dumps(OTHER))
    with pytest.raises(InputError, match="process 7 on elsewhere"):
        lock.hold("gs://bucket/run").__enter__()


def test_a_bucket_without_its_library(monkeypatch):
    backend.fsspec_backend._get_filesystem.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises((InputError, ImportError), match="gcsfs"):
        lock.hold("gs://bucket/run").__enter__()
