"""Large arrays in huge pages, which a process on Linux has to ask for before it starts."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

VARIABLE, ASKED = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask() -> None:
    """Starts the process of a command anew, with its number and arguments, so that glibc asks for huge pages.

    On a CPU, XLA takes all memory of a training step from the system in each step. In pages of 4 KB that is up to a
    third of the step's time. glibc reads what it should do when a process starts, so the process begins again, before
    anything is imported or read that takes time. Nothing is done where the user has set the variable, where the system
    gives huge pages to all processes or to none, and in a process that is not a command's alone.
    """
    if VARIABLE not in os.environ and is_command(sys.orig_argv) and _on_request():
        os.environ[VARIABLE] = ASKED
        with contextlib.suppress(OSError):  # and the command goes on as it is
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def is_command(argv: Sequence[str]) -> bool:
    """Returns whether a process with these arguments is a command, `python -m jtransfer.…` or `jtransfer …`.

    A notebook, a debugger or a script that runs a command inside of itself may not be started anew.
    """
    program, *rest = [*argv[1:], ""]
    return rest[0].partition(".")[0] == "jtransfer" if program == "-m" else Path(program).name == "jtransfer"


def _on_request() -> bool:
    """Whether the system gives huge pages to who asks, and glibc can ask."""
    try:
        return "[madvise]" in _MODE.read_text() and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (OSError, ValueError):
        return False
