"""Does the runs of a comparison, in this process or over several; what is done is not done again."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jtransfer import train
from jtransfer.comparing import plan as plans
from jtransfer.comparing.plan import Cell, Plan
from jtransfer.core import stopping
from jtransfer.core.errors import Diverged, InputError
from jtransfer.core.show import say
from jtransfer.runs import json_file

RESULT = "result.json"  # in a run's folder: its metrics, when it is done
Guard = Callable[[], contextlib.AbstractContextManager]


def result(plan: Plan, cell: Cell) -> dict[str, Any] | None:
    """Returns what a run has given: "metrics", name → value, and "seconds"; or "failed", why there are none. None where
    it is not done.

    Raises:
      InputError: The folder has a run of another config.
    """
    path = plans.place(plan, cell) / RESULT
    if not path.exists():
        return None
    found = json_file.read(path)
    if found.get("config") != plans.digest(plans.config_of(plan, cell)):
        raise InputError(f"{path.parent} holds a run of another config; move it away, or take another --workdir")
    return found


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Returns metrics as JSON can say them: None for a number that is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def pending(plan: Plan, tasks: Sequence[int] | None = None) -> list[int]:
    """Returns the numbers of the runs that are not done, of all or of some."""
    cells = plans.cells(plan)
    asked = range(len(cells)) if tasks is None else tasks
    return [number for number in asked if result(plan, cells[number]) is None]


def tasks_of(text: str, count: int) -> list[int]:
    """Returns the numbers of runs that `--task` names: "3", "0,4,8", "2-5", or "1/4", the second of four equal shares.

    Args:
      text: The flag's value.
      count: The number of runs.

    Raises:
      InputError: It is none of these, or there is no such run.
    """
    try:
        if "/" in text:
            share, shares = map(int, text.split("/"))
            if not 0 <= share < shares:
                raise ValueError
            return list(range(share, count, shares))
        numbers: list[int] = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    except ValueError:
        raise InputError(f"--task={text}: write the number of a run, '0,4,8', '2-5', or '0/4' for a share") from None
    if not numbers or min(numbers) < 0 or max(numbers) >= count:
        raise InputError(f"--task={text}: the runs are numbered from 0 to {count - 1}")
    return numbers


def run(plan: Plan, tasks: Sequence[int], guard: Guard = contextlib.nullcontext) -> None:
    """Does runs one after the other, those that are not done.

    Args:
      plan: The comparison.
      tasks: The numbers of the runs.
      guard: A context for each run, such as `stopping.on_signals`.
    """
    cells = plans.cells(plan)
    for number in pending(plan, tasks):
        cell = cells[number]
        say(f"run {number + 1} of {len(cells)}: {plans.named(plan, cell)}")
        config, place, began = plans.config_of(plan, cell), plans.place(plan, cell), time.monotonic()
        try:
            with guard():
                found = {"metrics": finite(train.run(config, place))}
        except Diverged as error:
            say(f"{plans.named(plan, cell)}: {error}", file=sys.stderr)
            found = {"failed": str(error)}
            place.mkdir(parents=True, exist_ok=True)
        told = {"config": plans.digest(config), "task": number, "cell": cell._asdict()}
        json_file.write(place / RESULT, {**told, **found, "seconds": time.monotonic() - began})
        jax.clear_caches()  # what was compiled for one run serves no other, and a process has room for so many only


def run_over(plan: Plan, processes: int) -> None:
    """Does all runs that are not done over several processes, each of which writes what it prints into a file.

    A signal is handed on to all of them, which save what they do.

    Raises:
      InputError: A process has ended with an error.
      Stopped: They were stopped by a signal.
    """
    left = pending(plan)
    shares = [left[number::processes] for number in range(processes) if left[number::processes]]
    logs = Path(plan.folder) / "processes"
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files:
        children: list[subprocess.Popen] = []
        with _handing_on(children):
            for number, share in enumerate(shares):
                task = ",".join(map(str, share))
                command = [sys.executable, "-m", "jtransfer.compare", f"--workdir={plan.folder}", f"--task={task}"]
                out = files.enter_context((logs / f"{number}.txt").open("wb"))
                children.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True))
                say(f"process {number} does {len(share)} of {len(left)} runs and writes {logs / f'{number}.txt'}")
            codes = [child.wait() for child in children]
    if by_signal := [code for code in codes if code in (stopping.CODE, stopping.INTERRUPTED)]:
        stopped = stopping.Stopped("stopped; the same command goes on")
        stopped.code = by_signal[0]
        raise stopped
    for number, code in enumerate(codes):
        if code:
            last = (logs / f"{number}.txt").read_text(errors="replace").strip().rpartition("\n")[2]
            raise InputError(f"process {number} ended with exit code {code}, see {logs / f'{number}.txt'}: {last:.500}")


@contextlib.contextmanager
def _handing_on(children: Sequence[subprocess.Popen]) -> Iterator[None]:
    """A context in which signals go to other processes."""

    def hand_on(number: int, frame: object) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    try:
        before = {number: signal.signal(number, hand_on) for number in stopping.SIGNALS}
    except ValueError:  # not in the main thread
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
