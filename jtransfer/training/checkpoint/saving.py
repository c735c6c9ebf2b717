"""Saving: in the background, one checkpoint at a time; the last are kept, and for each of them the best by then."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils

from jtransfer.core import refusals
from jtransfer.core.errors import InputError
from jtransfer.training.checkpoint import choosing, committing, folders
from jtransfer.training.checkpoint.parts import parts
from jtransfer.training.checkpoint.statement import Stated
from jtransfer.training.state import TrainState


class Keep(NamedTuple):
    """Which checkpoints stay.

    Attributes:
      last: So many of the last. For each of them, the one with the largest score by then stays, too.
      every: Those of each multiple of so many steps, at which one is written, too; 0 is none.
      best: So many of those with the largest scores.
    """

    last: int = 2
    every: int = 0
    best: int = 0


class Checkpoints:
    """The checkpoints of a run that goes on, as a context manager. All processes use it in the same way."""

    def __init__(self, workdir: str | os.PathLike, every: int, keep: Keep):
        self._workdir, self._every, self._keep = workdir, every, keep
        self._scores = {found.step: choosing.score_of(found) for found in choosing.every(workdir)}
        self._pending: tuple[int, Any] | None = None
        self._asked: tuple[int, bool] = (-1, False)

    def should_save(self, step: int) -> bool:
        """Returns whether a checkpoint is due at a step: by the interval, or because the job is about to be stopped."""
        if self._asked[0] != step:
            due = step % self._every == 0 or (self._keep.every and step % self._keep.every == 0)
            self._asked = (step, bool(due) or _is_preempted(step))
        return self._asked[1] and step > max(self._scores, default=-1)

    def start(self, step: int, state: TrainState, position: Mapping[str, Any], score: float | None) -> None:
        """Begins to write a checkpoint, as soon as the one before is written."""
        self.wait()
        if jax.process_index() == 0:
            folders.make_room(self._workdir, step)
        stated = Stated(step, dict(position), None if score is None else float(score), None)
        with _told(step):
            self._pending = (step, committing.begin(self._workdir, parts(state), stated))
        self._scores[step] = stated.score

    def poll(self) -> None:
        """Raises what went wrong in the background, if it has gone wrong by now."""
        self._finish(0)

    def wait(self) -> None:
        """Waits until what was begun is written."""
        self._finish(None)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with contextlib.suppress(*((Exception,) if kind else ())):  # the error that is on its way is the first
            self.wait()

    def _finish(self, seconds: float | None) -> None:
        if self._pending is None:
            return
        step, response = self._pending
        with _told(step):
            try:
                response.result(timeout=seconds)
            except TimeoutError:
                if seconds is None:
                    raise
                return
        self._pending = None
        self._prune(step)

    def _prune(self, step: int) -> None:
        """Deletes what is no longer kept."""
        kept = _kept(self._scores, self._keep)
        gone = self._scores.keys() - kept
        self._scores = {one: score for one, score in self._scores.items() if one in kept}
        if jax.process_index() == 0:
            folders.drop_replaced(self._workdir, step)
            for one, path in folders.complete(self._workdir).items():
                if one in gone:
                    folders.remove(path)


def open_checkpoints(
    workdir: str | os.PathLike, *, every: int, keep: int | Keep = 2, resumed_at: int | None = None
) -> Checkpoints:
    """Returns the checkpoints of a run that begins or goes on, as a context manager.

    What a run that was killed had begun is tidied up. It saves every `every` steps and before preemption.

    Args:
      workdir: the run's folder.
      every: steps between two checkpoints.
      keep: which are kept, or how many of the last.
      resumed_at: the step that the run goes on from. Later checkpoints are damaged, and are set aside.
    """
    if jax.process_index() == 0:
        folders.tidy(workdir)
        for step, path in folders.complete(workdir).items():
            if resumed_at is not None and step > resumed_at:
                folders.set_aside(path)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("open_checkpoints")
    return Checkpoints(workdir, every, Keep(keep) if isinstance(keep, int) else keep)


def save(
    checkpoints: Checkpoints,
    step: int,
    state: TrainState,
    position: Mapping[str, Any],
    *,
    score: float | None = None,
    force: bool = False,
) -> None:
    """Saves if it is due, or with `force`; call it at every step on every process. Returns before it is written.

    Args:
      checkpoints: from `open_checkpoints`.
      step: the step.
      state: the state after it.
      position: JSON with `phase` and `base` (see `write_base`), and what else the loop must know to go on.
      score: the larger, the better; None where nothing was evaluated.
      force: whether it is saved in any case, in place of a checkpoint of the same step if there is one.

    Raises:
      InputError: this checkpoint or the one before can't be written.
    """
    checkpoints.poll()
    if force or checkpoints.should_save(step):
        checkpoints.start(step, state, position, score)


def _kept(scores: Mapping[int, float | None], keep: Keep) -> set[int]:
    """The last steps, and for each of them the best by then, from which a run that goes on there would choose; and what
    is kept beside."""
    last = sorted(scores)[-keep.last :]
    scored = sorted((score, step) for step, score in scores.items() if score is not None)
    by_then = (max((one for one in scored if one[1] <= step), default=None) for step in last)
    spaced = {step for step in scores if keep.every and step % keep.every == 0}
    best = {step for _, step in scored[len(scored) - min(keep.best, len(scored)) :]}
    return {*last, *(one[1] for one in by_then if one), *spaced, *best}


def _is_preempted(step: int) -> bool:
    try:
        return multihost_utils.reached_preemption_sync_point(step)
    except RuntimeError:  # JAX was told not to look
        return False


@contextlib.contextmanager
def _told(step: int) -> Iterator[None]:
    """What the file system refuses, as an InputError."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = refusals.reason(error) or f"{' '.join(str(error).split()):.300}"
        raise InputError(
            f"the checkpoint of step {step} can't be written: {reason}; see to it, and start the run again, which "
            "goes on from the last whole one"
        ) from error
