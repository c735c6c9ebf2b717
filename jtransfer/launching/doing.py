"""Commands of other tools: shown, or done."""

import shlex
import subprocess
from collections.abc import Callable, Sequence

from jtransfer.core.errors import InputError
from jtransfer.core.show import say

Do = Callable[..., "tuple[int, str]"]


def do(words: Sequence[str], *, read: bool = False) -> tuple[int, str]:
    """Runs a command; returns its exit code, and what it printed if that is to be read.

    Raises:
      InputError: There is no such command.
    """
    try:
        done = subprocess.run(list(words), stdout=subprocess.PIPE if read else None, text=True, check=False)
    except FileNotFoundError:
        raise InputError(
            f"the command {words[0]!r} is not installed; install it, or see what it would be: --print"
        ) from None
    return done.returncode, done.stdout or ""


def show(words: Sequence[str], *, read: bool = False) -> tuple[int, str]:
    """Prints a command as a shell takes it, and runs nothing."""
    say(shlex.join(words))
    return 0, ""
