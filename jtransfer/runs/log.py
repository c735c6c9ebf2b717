"""What a run says while it runs: `metrics.jsonl`, trackers such as TensorBoard, and progress in the terminal.

`metrics.jsonl` has one JSON object a line, in the order of writing:

    {"step": 120, "phase": "finetune", "split": "train", "loss": 0.31, "learning_rate": 0.001, …}
    {"step": 200, "phase": "finetune", "event": "phase_end", "seconds": 81.5, …}

A number that is not finite is `null`. A line goes to the operating system at once, so that a killed run loses at most
the line that it was writing; `read` passes over a last line without its end, and a resumed `Writer` cuts it. In a
bucket (`gs://…`), where nothing can be appended to, the whole file is uploaded at most twice a minute, and at the end.
"""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any

import jax
from etils import epath

from jtransfer import tracking
from jtransfer.core.errors import InputError
from jtransfer.core.show import escaped, say
from jtransfer.runs import log_lines
from jtransfer.runs.log_lines import FILE, read
from jtransfer.tracking import appending

__all__ = ["FILE", "Writer", "read"]

TEXTS = {  # name of a scalar → how the terminal shows it
    "loss": "loss {:.4f}",
    "accuracy": "accuracy {:.4f}",
    "retrieval": "retrieval {:.4f}",
    "macro_f1": "macro-F1 {:.4f}",
    "entity_f1": "entity-F1 {:.4f}",
    "spearman": "Spearman {:.4f}",
    "perplexity": "perplexity {:.2f}",
    "bleu": "BLEU {:.1f}",
    "chrf": "chrF {:.1f}",
    "learning_rate": "lr {:.2e}",
    "examples_per_second": "{:.0f} examples/s",
    "data_wait_ms": "waits {:.1f} ms for data",
}


class Writer:
    """Writes a run's metrics into `workdir`, as a context manager. Only process 0 writes; on others nothing happens.

    Args:
      workdir: the run's folder; made if it is not there.
      terminal: show progress on standard output: a live bar where it is a terminal, plain lines elsewhere.
      start_step: the step that the run resumes at. Lines of later steps are dropped, and TensorBoard hides them; 0
        starts afresh.
      start_phase: the phase of that step. If it is given, lines of that step and another phase are dropped too: those
        of a phase that had begun there and will begin again.
      total_steps: the steps of all phases together, for the share done and the time left; see `expect`.
      trackers: what is given the numbers, too, as `config.trackers`.
      config: the run's config, for the trackers, as plain JSON.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        terminal: bool = True,
        start_step: int = 0,
        start_phase: str | None = None,
        total_steps: int | None = None,
        trackers: Any = ("tensorboard",),
        config: Mapping[str, Any] = MappingProxyType({}),
    ):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        folder = epath.Path(workdir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except ImportError as error:
            raise InputError(f"{workdir} cannot be written to: {error}") from None
        told = log_lines.rewind(folder / FILE, start_step, start_phase)
        if told and terminal:
            say(told)
        self._trackers = tracking.Trackers(trackers, workdir, config, start_step)
        self._file = appending.opened(folder / FILE)
        self._clock = _Clock(total_steps)
        self._screen = _screen(terminal, total_steps)

    def write(self, step: int, phase: str, split: str, scalars: Mapping[str, Any], protocol: str = "") -> None:
        """One line of numbers: `split` is "train" or "test"; the values are numbers or arrays of one element.

        `protocol` says what has chosen the model that the numbers are of; "" leaves it out.
        """
        if not self._writes:
            return
        scalars = {name: float(value) for name, value in scalars.items()}
        told = {"protocol": protocol} if protocol else {}
        self._line({"step": int(step), "phase": phase, "split": split, **told, **scalars})
        self._trackers.write(int(step), {f"{split}/{name}": value for name, value in scalars.items()})
        seconds_left = self._clock.seconds_left(int(step)) if split == "train" else None
        self._screen.show(int(step), phase, split, scalars, seconds_left)

    def event(self, step: int, phase: str, name: str, /, **details: Any) -> None:
        """One line for what happened: `phase_start`, `phase_end`, `early_stop`, `init`; details that fit in JSON."""
        if not self._writes:
            return
        self._line({"step": int(step), "phase": phase, "event": name, **details})
        if name == "phase_start":
            self._clock.restart()
            self._screen.begin(phase)

    def expect(self, total_steps: int) -> None:
        """Says at which step the run will end, which a phase that stops early changes."""
        if self._writes:
            self._clock.total = self._screen.total = total_steps

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        if self._writes:
            self._screen.close()
            self._file.close()
            self._trackers.close()

    def _line(self, fields: dict) -> None:
        line = json.dumps(_finite(fields), allow_nan=False, ensure_ascii=False) + "\n"
        self._file.write(line.encode(errors="backslashreplace"))
        self._file.flush()


def temperature(lines: Sequence[Mapping[str, Any]]) -> float:
    """Returns the temperature that the lines of a log tell of the run's model; 1 where they tell none.

    Raises:
      InputError: it is no number above 0.
    """
    told = (line for line in reversed(lines) if line.get("split") == "test" and line.get("protocol") != "unselected")
    found = next((line["temperature"] for line in told if "temperature" in line), 1.0)
    if not found or not found > 0:
        raise InputError(f"{FILE} is damaged: the temperature {found!r} of the run's model must be above 0")
    return float(found)


def _finite(value: Any) -> Any:
    """What JSON can say: arrays as lists and numbers, None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Clock:
    """The time left, from the pace between a phase's training lines. Compilation comes before the first."""

    def __init__(self, total_steps: int | None):
        self.total = total_steps
        self.restart()

    def restart(self) -> None:
        self._last: tuple[int, float] | None = None
        self._pace: float | None = None  # seconds a step, averaged over the last few lines

    def seconds_left(self, step: int) -> float | None:
        now = monotonic()
        if self._last and step > self._last[0]:
            pace = (now - self._last[1]) / (step - self._last[0])
            self._pace = pace if self._pace is None else 0.7 * self._pace + 0.3 * pace
        self._last = (step, now)
        return None if self._pace is None or self.total is None else self._pace * max(self.total - step, 0)


def _screen(terminal: bool, total_steps: int | None):
    if not terminal:
        return _Dark()
    return _Bar(total_steps) if sys.stdout.isatty() else _Lines(total_steps)


class _Dark:
    """Shows nothing."""

    total: int | None = None

    def begin(self, phase) -> None:
        pass

    def show(self, step, phase, split, scalars, seconds_left) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines(_Dark):
    """One plain line for each write."""

    def __init__(self, total_steps: int | None):
        self.total = total_steps

    def show(self, step, phase, split, scalars, seconds_left) -> None:
        done = f"{step}/{self.total}" if self.total else str(step)
        say("  ".join([phase, done, split, *_texts(scalars, split), *_left(seconds_left)]))


class _Bar(_Dark):
    """A live bar for training, and above it one line for each evaluation."""

    def __init__(self, total_steps: int | None):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        name = TextColumn("{task.description}", style="bold", markup=False)
        rest = TextColumn("{task.fields[rest]}", markup=False)
        self._progress = Progress(name, BarColumn(), MofNCompleteColumn(), rest)
        self._task = self._progress.add_task("start", total=total_steps, rest="")
        self.total = total_steps
        self._progress.start()

    def begin(self, phase) -> None:
        self._progress.update(self._task, description=phase, rest="preparing the first step")

    def show(self, step, phase, split, scalars, seconds_left) -> None:
        if split == "train":
            rest = "  ".join([*_texts(scalars, split), *_left(seconds_left)])
            self._progress.update(self._task, completed=step, total=self.total, description=phase, rest=rest)
        else:
            line = "  ".join([phase, str(step), split, *_texts(scalars, split)])
            self._progress.console.print(escaped(line), markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def _texts(scalars: Mapping[str, float], split: str) -> list[str]:
    if split == "selection":
        return [f"{name} {value:.4f}" for name, value in scalars.items()]
    return [text.format(scalars[name]) for name, text in TEXTS.items() if name in scalars]


def _left(seconds: float | None) -> list[str]:
    if seconds is None:
        return []
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return [f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"]
