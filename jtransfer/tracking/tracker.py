"""What a tracker is told of a run, and what it is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Tracked(NamedTuple):
    """The run whose numbers a tracker is given.

    Attributes:
      folder: The run's folder.
      name: The name of the folder.
      config: The run's config, as plain JSON.
      id: What the tracker called this run when it first began; "" where it begins.
      step: The step that the run goes on from; 0 where it begins.
    """

    folder: str
    name: str
    config: Mapping[str, Any]
    id: str = ""
    step: int = 0


def _nothing() -> None:
    pass


class Tracker(NamedTuple):
    """What takes the numbers of a run.

    Attributes:
      write: Takes a step and name → number, in the order of steps; a run that goes on may repeat some.
      close: Is called once, at the end.
      id: What the tracker calls the run; it is kept in the run's folder, and given back when the run goes on.
      is_local: Whether it only writes into the run's folder. Such a tracker is called by the thread that trains, and
        its errors are the run's; any other one is called by a thread of its own, and its errors are warnings.
    """

    write: Callable[[int, Mapping[str, float]], None]
    close: Callable[[], None] = _nothing
    id: str = ""
    is_local: bool = False
