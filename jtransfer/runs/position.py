"""Where a run is: what the loop must know to go on, beside the state."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from jtransfer.training import checkpoint


class Position(NamedTuple):
    """Where a run is; saved with every checkpoint."""

    number: int  # of the phase
    phase: str
    start: int  # the phase's first step
    base: str  # digest of what is frozen in the phase
    done: bool = False
    best: float | None = None  # the best score so far in the phase, for early stopping
    stale: int = 0  # evaluations since then
    seconds: float = 0.0  # spent in the phase
    sums: Mapping[str, Any] = {}  # of the metrics since the last line of the log
    owed: bool = False  # whether the run was stopped before the evaluations of the step, which come first then
    selected: int | None = None  # the best step of the run so far, by the validation split
    selected_score: float | None = None
    source: Mapping[str, Any] = {}  # what of that is not written, but made again from the run's init


def position_of(folder: str | os.PathLike, saved: Mapping[str, Any]) -> Position:
    """Where the run is, by what was saved; earlier versions did not save which step was the best so far."""
    position = Position(**saved)
    if "selected" in saved:
        return position
    step, score = checkpoint.best(folder) or (None, None)
    return position._replace(selected=step, selected_score=score)
