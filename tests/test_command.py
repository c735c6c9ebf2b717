"""Commands in real pipes: they end quietly where who reads them has gone, and their text is there at once."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import jtransfer

PACKAGE = Path(jtransfer.__file__).parent
EARLIER = Path(__file__).parent / "references/earlier"
COMMANDS = sorted(path.stem for path in PACKAGE.glob("[a-z]*.py") if '__name__ == "__main__"' in path.read_text())
CLOSED = 141  # 128 + 13, as a shell says of a program that SIGPIPE ended
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "JAX_PLATFORMS": "cpu"}
HEAVY = ("jax", "flax", "orbax", "numpy", "matplotlib", "tensorflow")


def begin(name, *args, **how):
    command = [sys.executable, "-m", f"jtransfer.{name}", *map(str, args)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=PACKAGE.parent, **how)


def first_line(name, *args):
    """(the first line, the exit code, standard error) of a command whose output is read no further, as by `head -1`."""
    with begin(name, *args, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    return line, process.returncode, error


def unread(name, *args):
    """(the exit code, standard error) of a command whose output is closed from the start."""
    reading, writing = os.pipe()
    os.close(reading)
    with begin(name, *args, stdout=writing) as process:
        os.close(writing)
        error = process.stderr.read()
    return process.returncode, error


def test_these_are_the_commands():
    assert COMMANDS == [
        "advise",
        "compare",
        "convert",
        "evaluate",
        "export",
        "extract",
        "fuse",
        "inspect",
        "launch",
        "list_models",
        "main",
        "merge",
        "predict",
        "probe",
        "rank",
        "report",
        "serve",
        "strip",
        "sweep",
        "verdict",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_line_of_help(name):
    line, code, error = first_line(name, "--help")
    assert line.strip() == ast.get_docstring(ast.parse((PACKAGE / f"{name}.py").read_text())).splitlines()[0]
    assert f"python -m jtransfer.{name}" in line
    assert code in (0, CLOSED)
    assert error == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_that_nobody_reads(name):
    assert unread(name, "--help") == (CLOSED, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name):
    """So that it is there at once."""
    loaded = f"[room for room in {HEAVY} if room in sys.modules]"
    code = f"import sys\nfrom jtransfer import {name}\nprint({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A checkpoint whose list of tensors is longer than a pipe holds."""
    path = tmp_path_factory.mktemp("many") / "model.safetensors"
    save_file({f"{'a' * 50}.layer{i}.weight": np.zeros(1, np.float32) for i in range(3000)}, path)
    return path


def test_a_list_of_tensors_that_is_closed_in_the_middle(many):
    line, code, error = first_line("inspect", many)
    assert "model.safetensors" in line
    assert (code, error) == (CLOSED, "")


def test_predictions_that_are_closed_in_the_middle():
    """Of 5000 texts: more than a pipe holds."""
    line, code, error = first_line("predict", f"--workdir={EARLIER / 'texts'}", *["the day good"] * 5000)
    assert line.split()[:4] == ["the", "day", "good", "good"]
    assert (code, error) == (CLOSED, "")


def test_an_export_that_nobody_reads_about_is_written(tmp_path):
    assert unread("export", EARLIER / "texts", tmp_path / "new", "--format=safetensors") == (CLOSED, "")
    assert (tmp_path / "new/model.safetensors").exists()


def test_a_mistake_is_told_on_standard_error_also_where_nobody_reads(tmp_path):
    code, error = unread("inspect", tmp_path / "none.safetensors")
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
