"""However the processes of a cluster leave, each ends with its exit code and its line, and soon."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENDS = {  # case → exit code and line of each process
    "first_is_gone_before_second_has_said_its_line": [(42, ""), (130, "line")],
    "first_does_not_wait_as_long_as_second_needs": [
        (42, "line"),
        (42, "another process has ended with exit code 42"),
    ],
    "second_is_complete_when_first_fails": [
        (2, "line"),
        (2, "error: process 0 failed: a full disk; process 1 stops"),
    ],
    "first_is_complete_when_second_fails": [
        (2, "error: process 1 failed: a full disk; process 0 stops"),
        (2, "line"),
    ],
}
MOST = 20.0  # seconds, of which the slowest case takes 5 on an idle machine


def start(port, rank, case):
    command = [sys.executable, "-m", "tests.leaving_process", str(port), str(rank), case]
    place = {"cwd": Path(__file__).parents[1], "env": os.environ | {"JAX_PLATFORMS": "cpu"}}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **place)


@pytest.mark.parametrize("case", ENDS)
def test_each_process_ends_with_its_exit_code_and_its_line(case):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    processes = [start(port, rank, case) for rank in range(2)]
    try:
        for process, (code, line) in zip(processes, ENDS[case], strict=True):
            error = process.communicate(timeout=60)[1]
            assert process.returncode == code, error
            assert re.search(f"(?m)^{re.escape(line)}", error)
    finally:
        for process in processes:
            process.kill()
    assert time.monotonic() - began < MOST
