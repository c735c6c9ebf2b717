"""A trace of some steps of a run, which XProf and TensorBoard open."""

import contextlib
import os
import tempfile
from typing import Any

import jax
from etils import epath

from jtransfer.core.errors import InputError
from jtransfer.core.show import say

FOLDER = "profile"  # in a run's folder
Steps = tuple[int, int]  # the first and the last


class Trace:
    """The trace of the steps from one to another, which process 0 writes into the run's folder `profile`.

    Args:
      folder: The run's folder.
      steps: The first and the last step; None traces none.
    """

    def __init__(self, folder: str | os.PathLike, steps: Steps | None):
        self._place = os.path.join(os.fspath(folder), FOLDER)
        self._steps = steps if jax.process_index() == 0 else None
        self._begun: contextlib.ExitStack | None = None

    def before(self, step: int) -> None:
        """Begins the trace if the step is in it."""
        if self._steps and self._begun is None and self._steps[0] <= step <= self._steps[1]:
            self._begun = _begin(self._place, self._steps)

    def after(self, step: int, outputs: Any) -> None:
        """Ends the trace if the step, which returns the outputs, was the last in it."""
        if self._steps and self._begun is not None and step >= self._steps[1]:
            jax.block_until_ready(outputs)
            self.close()

    def close(self) -> None:
        """Ends the trace if it has begun; of a phase or a run that ends before the last step, it has what there was."""
        if self._begun is not None:
            begun, self._begun = self._begun, None
            begun.close()


def parse(text: str) -> Steps | None:
    """Returns the steps that a text names, as (10, 15) of "10:15"; None of an empty text.

    Raises:
      InputError: It is not two numbers, of which the first is above 0 and the second not below it.
    """
    first, _, last = text.partition(":")
    if not text:
        return None
    if not all(n.isascii() and n.isdecimal() and len(n) < 16 for n in (first, last)) or not 1 <= int(first) <= int(
        last
    ):
        raise InputError(f"--profile={text}: give the first and the last step to trace, from 1 on, as --profile=10:15")
    return int(first), int(last)


def check(steps: Steps | None, total: int) -> None:
    """Checks that a run has the steps that are to be traced.

    Args:
      steps: The first and the last step; or None.
      total: How many steps the run has.

    Raises:
      InputError: It has not.
    """
    if steps and not 1 <= steps[0] <= steps[1] <= total:
        raise InputError(f"profile={steps[0]}:{steps[1]} can't be traced: the run has the steps 1 to {total}")


def _begin(place: str, steps: Steps) -> contextlib.ExitStack:
    """Begins a trace, which ends, is copied where JAX can't write, and is told of when the stack is closed."""
    stack, local = contextlib.ExitStack(), place
    stack.callback(say, f"profile of steps {steps[0]} to {steps[1]}: {place} (tensorboard --logdir={place})")
    if "://" in place:
        local = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(_copy, local, place)
    jax.profiler.start_trace(local)
    stack.callback(jax.profiler.stop_trace)
    return stack


def _copy(local: str, place: str) -> None:
    for path in epath.Path(local).glob("**/*"):
        if path.is_file():
            target = epath.Path(place) / os.path.relpath(path, local)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
