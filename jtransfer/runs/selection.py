"""Which checkpoint is a run's model: the best by the validation split so far, or the last."""

import math
from typing import Any

import jax

from jtransfer.core.show import say
from jtransfer.runs import assemble, evaluation
from jtransfer.training import checkpoint
from jtransfer.training.state import TrainState

Run = Any  # build.Run


def is_better(score: float, best: float | None, *, or_equal: bool = False) -> bool:
    """Returns whether a score is better than the best before, or as good; one that is no number is not."""
    return not math.isnan(score) and (best is None or score > best or (or_equal and score == best))


def state(run: Run, last: TrainState, number: int, step: int | None) -> TrainState:
    """Returns the state that a phase ends with: that of the selected step, at the step of the last one.

    Args:
      run: the run, whose checkpoint of the selected step is written.
      last: the last state.
      number: of the phase.
      step: the best step of the run so far, of equals the last; None if nothing was evaluated on the validation split.
    """
    if run.config.model_selection == "last" or step in (None, int(last.step)):
        return last
    position = checkpoint.position(run.folder, step)
    like = assemble.abstract(run, position["number"])
    frozen = last.frozen if position["number"] == number else None
    return checkpoint.restore(run.folder, step, like, position, frozen=frozen).replace(step=last.step)


def announce(run: Run, writer: Any, phase: str, last: int, step: int | None, score: float | None) -> None:
    """Prints and logs with which model a phase ends, where the validation split decides it."""
    if step is None or score is None or run.config.model_selection == "last":
        return
    name, value = evaluation.metric(run), evaluation.value(run, score)
    writer.event(last, phase, "best", metric=name, value=value, best_step=step)
    if jax.process_index() == 0:
        say(f"phase {phase} ends with the best model: validation {name} {value:.4f} at step {step}")
