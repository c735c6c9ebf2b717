"""A command asks for huge pages by starting anew, once; nothing else that runs in Python is started anew."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jtransfer.core import huge_pages

CONFIG = """
import json, os, pathlib

def get_config():
    told = {"pid": os.getpid(), "tunables": os.environ.get("GLIBC_TUNABLES")}
    pathlib.Path(__file__).with_name("told.json").write_text(json.dumps(told))
    raise ValueError("enough is known")
"""


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["python", "-m", "jtransfer.main", "--config=a.py"], True),
        (["python", "-m", "jtransfer", "train"], True),
        (["/venv/bin/python3", "/venv/bin/jtransfer", "train"], True),
        (["python", "-m", "jtransferred.main"], False),
        (["python", "-m", "pdb", "-m", "jtransfer.main"], False),
        (["python", "-m", "ipykernel_launcher", "-f", "kernel.json"], False),
        (["python", "mine.py", "jtransfer"], False),
        (["python", "-m"], False),
        (["python"], False),
        ([], False),
    ],
)
def test_only_commands_are_started_anew(argv, expected):
    assert huge_pages.is_command(argv) is expected


@pytest.mark.parametrize("given", [None, "", "glibc.malloc.arena_max=1"])
def test_a_command_keeps_its_number_and_what_the_user_has_set(tmp_path, given):
    (tmp_path / "probe.py").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(Path(huge_pages.__file__).parents[2])}
    environment.pop("GLIBC_TUNABLES")
    if given is not None:
        environment["GLIBC_TUNABLES"] = given
    command = [sys.executable, "-m", "jtransfer.main", f"--config={tmp_path / 'probe.py'}"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        process.wait()
    told = json.loads((tmp_path / "told.json").read_text())
    on_request = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    asks = (
        on_request.exists() and "[madvise]" in on_request.read_text() and "glibc" in os.confstr("CS_GNU_LIBC_VERSION")
    )
    assert told == {"pid": process.pid, "tunables": huge_pages.ASKED if asks and given is None else given}
