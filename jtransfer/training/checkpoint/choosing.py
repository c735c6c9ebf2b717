"""Which checkpoint of a run is read: the one that is asked for, or, where it is damaged, the next one that is whole."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.training.checkpoint import folders, statement
from jtransfer.training.checkpoint.damage import Damaged, of_first
from jtransfer.training.checkpoint.statement import Found

T = TypeVar("T")
_PATIENCE = 60.0  # seconds in which a run that goes on may replace checkpoints faster than they are read


def attempt(
    workdir: str | os.PathLike, step: int | str | None, read: Callable[[Found], T], *, everywhere: bool = False
) -> T:
    """Returns `read(checkpoint)` of the checkpoint that a step names, or else of the next one that is whole.

    Where a run that goes on has deleted or replaced the checkpoint while it was read, it is chosen anew. One that is
    damaged is passed over if it was named "best" or "last", with a line on standard error that says so.

    Args:
      workdir: a run's folder.
      step: as for `load_params`.
      read: what is done with a checkpoint; it raises `Damaged` if that is not whole.
      everywhere: whether all processes call this together, and have to choose the same.

    Raises:
      InputError: there is no such folder or step, or what there is is damaged.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        damage: list[Damaged] = []
        candidates = _candidates(workdir, step)
        for found in _of_first(candidates) if everywhere else candidates:
            try:
                value = read(found)
            except Damaged as error:
                damage.append(error)
                if not _is_still_there(found, everywhere):
                    break
            else:
                _tell(damage, found.step)
                return value
        else:
            raise _refusal(workdir, step, damage)
        if time.monotonic() > end:
            raise InputError(f"{workdir} replaces its checkpoints faster than they are read: {damage[-1]}")


def resolve(workdir: str | os.PathLike, step: int | str | None = None) -> int:
    """Returns the number of a step that is given as for `load_params`. Only what the checkpoint states is looked at."""
    return attempt(workdir, step, lambda found: statement.read(found).step)


def position(workdir: str | os.PathLike, step: int) -> dict[str, Any]:
    """Returns the position that was saved with a step."""
    return attempt(workdir, step, lambda found: statement.read(found).position)


def best(workdir: str | os.PathLike) -> tuple[int, float] | None:
    """Returns the step with the largest score, of equals the last, and the score; None if none has one."""
    return next(iter(scored(workdir)), None)


def scored(workdir: str | os.PathLike) -> list[tuple[int, float]]:
    """Returns step and score of the checkpoints that have one, the best first, of equals the last."""
    known = [(score, found.step) for found in every(workdir) if (score := score_of(found)) is not None]
    return [(step, score) for score, step in sorted(known, reverse=True)]


def every(workdir: str | os.PathLike) -> list[Found]:
    """Returns all checkpoints of a run, the earliest first."""
    return [statement.find(step, path) for step, path in folders.complete(workdir).items()]


def steps(workdir: str | os.PathLike) -> list[int]:
    """Returns the steps of all checkpoints of a run, the earliest first."""
    return [found.step for found in every(workdir)]


def score_of(found: Found) -> float | None:
    """Returns the score that a checkpoint states; None if it has none, or is damaged."""
    try:
        return statement.read(found).score
    except Damaged:
        return None


def _candidates(workdir: str | os.PathLike, step: int | str | None) -> list[Found]:
    """The checkpoints that a step may stand for, the first choice first."""
    folders.existing(workdir)
    found = every(workdir)[::-1] or every(workdir)[::-1]  # one that appears while the folder is listed may be missed
    if not found:
        if aside := folders.set_aside_before(workdir):
            raise InputError(f"{workdir} holds no whole checkpoint; {', '.join(aside)} were set aside as damaged")
        raise InputError(f"{workdir} holds no whole checkpoint yet")
    if step in (None, "last"):
        return found
    if step == "best":
        scores = {one: score for one in found if (score := score_of(one)) is not None}
        ranked = sorted(scores, key=lambda one: scores[one], reverse=True)
        return ranked + [one for one in found if one not in scores]
    chosen = [one for one in found if one.step == step]
    if isinstance(step, str) or not chosen:
        kept = ", ".join(str(one.step) for one in found[::-1])
        raise InputError(f"{workdir} has no checkpoint of step {step}; it has {kept}, and the names best and last")
    return chosen


def _of_first(found: list[Found]) -> list[Found]:
    """The candidates of process 0, in its order, as this process sees them."""
    own = {one.step: one for one in found}
    return [own[step] for step in of_first([one.step for one in found]) if step in own]


def _is_still_there(found: Found, everywhere: bool) -> bool:
    there = found.is_still_there()
    return bool(of_first([int(there)])[0]) if everywhere else there


def _refusal(workdir: str | os.PathLike, step: int | str | None, damage: list[Damaged]) -> InputError:
    if isinstance(step, int):
        return Damaged(f"{damage[0]}; name another step, or leave it out")
    reasons = _reasons(damage)
    return InputError(f"{workdir} holds no whole checkpoint; bring back a copy, or take another workdir: {reasons}")


def _tell(damage: list[Damaged], step: int) -> None:
    if damage and jax.process_index() == 0:
        say(f"{_reasons(damage)}; step {step} is taken instead", file=sys.stderr)


def _reasons(damage: list[Damaged]) -> str:
    told = list(dict.fromkeys(str(error) for error in damage))
    return "; ".join([*told[:3], *([f"and {len(told) - 3} more"] if told[3:] else [])])
