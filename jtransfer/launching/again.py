"""Runs a process on this host, and runs it again where it was stopped and saved, as before a preemption."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from jtransfer.core import stopping
from jtransfer.core.show import say


def run(words: Sequence[str], workdir: str, tries: int = 3) -> int:
    """Runs a command until it ends with another exit code than 42, and returns that.

    A signal that this process is sent is handed on, and the command is not run again.

    Args:
      words: The command.
      workdir: The folder of its run, whose checkpoints tell how far it is.
      tries: How often in a row it is run again without a step more than before.
    """
    left, before = tries, step(workdir)
    while True:
        child = subprocess.Popen(words)
        with _handing_on(child) as stopped:
            code = child.wait()
        code = 128 - code if code < 0 else code
        if code != stopping.CODE or stopped:
            return code
        now = step(workdir)
        left = tries if now > before else left - 1
        if left < 0:
            say(f"it was stopped {tries + 1} times without a step more than {max(now, 0)}, and is not begun again")
            return code
        before = max(now, before)
        say(f"it was stopped and is saved, and is begun again from step {max(now, 0)}")


def step(workdir: str) -> int:
    """Returns the last step that a run has saved; -1 where there is none, or the folder can't be looked into."""
    with contextlib.suppress(Exception):  # as without a bucket's client
        places = (epath.Path(workdir) / "checkpoints").iterdir()
        return max((int(place.name) for place in places if place.name.isdecimal()), default=-1)
    return -1


@contextlib.contextmanager
def _handing_on(child: subprocess.Popen) -> Iterator[list[int]]:
    """A context in which signals are handed on to a process; those that came are in the list."""
    came: list[int] = []

    def hand_on(number: int, _: Any) -> None:
        came.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)

    before = {number: signal.signal(number, hand_on) for number in stopping.SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
