"""How a command ends, whatever goes wrong in it: with one line on standard error and an exit code."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError


class PanicException(BaseException):
    """What a panic in Rust is in Python."""


class XlaRuntimeError(RuntimeError):
    """What a device raises."""


def ending(error, capsys):
    """(the exit code, standard error) of a command that raises an error."""

    def main(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(main, ["command"])
    return ended.value.code, capsys.readouterr().err


LINES = {
    "of a user": (InputError("no such\x1b[2J\nfile"), 2, r"error: no such\\x1b\[2J\\nfile"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device"),
    "a permission": (
        PermissionError(errno.EACCES, "Permission denied", "/a\nb"),
        1,
        r"error: /a\\nb: Permission denied",
    ),
    "no file": (FileNotFoundError(errno.ENOENT, "No such file", "/a"), 1, "error: /a: No such file"),
    "an error without a number": (OSError("truncated"), 1, "error: truncated"),
    "memory": (
        MemoryError("Unable to allocate 9 TiB"),
        1,
        "error: there is not enough memory: Unable to allocate 9 TiB",
    ),
    "memory, without a word": (MemoryError(), 1, "error: there is not enough memory: MemoryError"),
    "memory of a device": (
        XlaRuntimeError("RESOURCE_EXHAUSTED: No\n9 bytes"),
        1,
        r"error: the device has not enough memory: RESOURCE_EXHAUSTED: No\\n9 bytes; make batch_size .*",
    ),
    "an interrupt": (KeyboardInterrupt(), 130, "stopped"),
}
BUGS = (ValueError("a\x1b[31m\nb"), PanicException("index out of range"), RecursionError("too deep"), KeyError())


@pytest.mark.parametrize("kind", LINES)
def test_an_error_is_one_line(kind, capsys):
    error, code, line = LINES[kind]
    found, text = ending(error, capsys)
    assert found == code
    assert re.fullmatch(line + r"\n", text)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
def test_a_bug_is_one_line_and_its_traceback_is_in_a_file(bug, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, text = ending(bug, capsys)
    assert code == 1
    told = re.fullmatch(r"internal error: (\w+): (.*); the traceback is in (\S+); please report it\n", text)
    assert told[1] == type(bug).__name__
    assert "\x1b" not in text
    kept = Path(told[3]).read_text()
    assert Path(told[3]).parent == tmp_path
    assert "raise error" in kept
    assert "\x1b" not in kept


def test_a_bug_without_a_place_for_a_file_shows_its_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    code, text = ending(ValueError("a"), capsys)
    assert code == 1
    assert "Traceback" in text
    assert text.endswith("internal error: ValueError: a; its traceback is above; please report it\n")


@pytest.mark.parametrize("code", [None, 0, 1, 42, 130])
def test_an_exit_passes(code, capsys):
    assert ending(SystemExit(code), capsys) == (code, "")


def test_an_output_that_is_full():
    """One line, and not another one of the interpreter at its end."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "jtransfer.report", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_an_output_that_has_no_such_letters():
    command = [sys.executable, "-c", "from jtransfer import export\nfrom jtransfer.core.command import run_command\n"]
    command[-1] += "run_command(export.main, ['export', '--help'])"
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2192" in done.stdout
