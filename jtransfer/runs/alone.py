"""What training several tasks together gains or loses each of them, against a run on it alone (`config.alone`)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError, unknown
from jtransfer.objectives import TARGET
from jtransfer.runs import folder as folders
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run

TEST = "test"


class Gain(NamedTuple):
    """One task's metric on its test split, in a run on several tasks and in one on it alone.

    Attributes:
      task: the stream's name.
      metric: the metric's name.
      together, alone: its values; None where a run has none.
    """

    task: str
    metric: str
    together: float | None
    alone: float | None


def check(config: Any) -> None:
    """Checks `config.alone`.

    Raises:
      InputError: it names what is no stream or no folder of a run.
    """
    for name, folder in config.alone.items():
        if name not in (known := (TARGET, *config.streams)):
            raise unknown("stream in alone:", name, known)
        if not folders.is_run(folder):
            raise InputError(f"alone.{name}={folder!r} is not the folder of a run; train on it alone first")


def gains(run: StoredRun) -> Iterator[Gain]:
    """Returns what each task of `config.alone` has in a run and in its own.

    Raises:
      InputError: a run on one task is gone.
    """
    for name, folder in run.config.alone.items():
        own = open_run(folder)
        metric = own.task.metric
        key = metric if name == TARGET else f"{name}/{metric}"
        yield Gain(name, metric, last(run.lines, key), last(own.lines, metric))


def last(lines: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    """Returns the last value of a metric on the test split in a run's log."""
    tested = (line for line in reversed(lines) if line.get("split") == TEST and metric in line)
    return next((line[metric] for line in tested), None)
