"""Which checkpoint is a run's model: the best so far by what decides (`protocol`), or the last."""

import functools
import math
import sys
from typing import Any

import jax

from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.runs import assemble, evaluation, frozen, protocol
from jtransfer.runs.position import Position
from jtransfer.training import checkpoint
from jtransfer.training.state import TrainState

Run = Any  # build.Run


def is_better(score: float, best: float | None, *, or_equal: bool = False) -> bool:
    """Returns whether a score is better than the best before, or as good; one that is no number is not."""
    return not math.isnan(score) and (best is None or score > best or (or_equal and score == best))


def state(run: Run, last: TrainState, position: Position) -> tuple[TrainState, Position]:
    """Returns the state that a phase ends with, that of the selected step at the last one's step, and the position.

    If the checkpoint of the selected step is damaged, the best of those that are whole is selected, or else the last
    state, with a line on standard error that says so.

    Args:
      run: the run, whose checkpoint of the selected step is written.
      last: the last state.
      position: where the run is. `selected` is the best step so far, of equals the last; None if nothing was evaluated
        on the validation split.
    """
    at, chosen = int(last.step), position.selected
    if run.config.model_selection == "last" or chosen in (None, at):
        return last, position
    others = {step: score for step, score in checkpoint.scored(run.folder) if step not in (chosen, at)}
    scores = {chosen: position.selected_score, **others, at: None}
    found, step, damage = last, at, []
    for step in scores:
        try:
            found = last if step == at else _restored(run, last, position.number, step)
            break
        except InputError as error:
            damage.append(str(error).partition("; name another")[0])
    if damage and jax.process_index() == 0:
        say("; ".join([*damage, f"the phase ends with step {step} instead"]), file=sys.stderr)
    return found.replace(step=last.step), position._replace(selected=step, selected_score=scores[step])


def _restored(run: Run, last: TrainState, number: int, step: int) -> TrainState:
    position = checkpoint.position(run.folder, step)
    like = assemble.abstract(run, position["number"])
    held = last.frozen if position["number"] == number else None
    remake = functools.partial(frozen.of_phase, run)
    return checkpoint.restore(run.folder, step, like, position, frozen=held, remake=remake)


def announce(run: Run, writer: Any, phase: str, last: int, step: int | None, score: float | None) -> None:
    """Prints and logs with which model a phase ends, where a score decides it."""
    if step is None or score is None or run.config.model_selection == "last":
        return
    name, value = evaluation.metric(run), evaluation.value(run, score)
    writer.event(last, phase, "best", metric=name, value=value, best_step=step, protocol=protocol.of(run))
    if jax.process_index() == 0:
        say(f"phase {phase} ends with the best model: {evaluation.deciding(run)} {name} {value:.4f} at step {step}")
