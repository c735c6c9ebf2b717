"""`verdict.json`: what a run's model was compared with on the same examples of the test split, and what came of it."""

import os
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jtransfer.core import whole_file
from jtransfer.runs import json_file
from jtransfer.runs.json_file import Damaged

FILE = "verdict.json"
FOLDER = "verdict"  # of what the baselines predict, a folder for each
HELPED, NONE_SHOWN, HURT, UNANSWERED = "helped", "no difference shown", "hurt", "not answered"
SCRATCH, TRIVIAL = "scratch", "trivial"
_WORDS = (HELPED, NONE_SHOWN, HURT)


class Compared(NamedTuple):
    """A run's model against one baseline.

    Attributes:
      name: of the baseline.
      kind: "scratch", the same model from scratch; or "trivial".
      metric: what is compared.
      run, baseline: the values of both, on the same examples.
      low, high: the interval of `run - baseline`, 95 %.
      examples: how many there are.
      word: "helped", "no difference shown" or "hurt".
      budget: of a run from scratch, its steps as a share of the run's.
    """

    name: str
    kind: str
    metric: str
    run: float
    baseline: float
    low: float
    high: float
    examples: int
    word: str
    budget: float = 1.0

    @property
    def too_few(self) -> bool:
        """Whether the interval is on one side of 0, but the examples on which the two differ are too few to say so."""
        return self.word == NONE_SHOWN and (self.low > 0 or self.high < 0)


class Verdict(NamedTuple):
    """What a run was compared with.

    Attributes:
      transferred: whether the run began with anything but random numbers.
      compared: the comparisons.
      left_out: lines on what was not compared, and why.
      predictions: what tells the predictions that were compared from others.
    """

    transferred: bool
    compared: tuple[Compared, ...]
    left_out: tuple[str, ...]
    predictions: str

    @property
    def word(self) -> str:
        """The answer: that of the comparison with the same model from scratch at the same budget; "hurt" where a
        trivial baseline is better, too; "not answered" where there is no such comparison."""
        words = {one.word for one in self.compared}
        scratch = [one.word for one in self.compared if one.kind == SCRATCH and one.budget >= 1]
        if not self.transferred:
            return UNANSWERED
        return HURT if HURT in words else scratch[0] if scratch else UNANSWERED


def digest(predictions: Mapping[str, np.ndarray]) -> str:
    """Returns what tells predictions from others."""
    total = 0
    for name in sorted(predictions):
        total = zlib.crc32(np.ascontiguousarray(predictions[name]).tobytes(), zlib.crc32(name.encode(), total))
    return f"{total:08x}"


def write(folder: str | os.PathLike, verdict: Verdict) -> None:
    """Writes a verdict into a run's folder."""
    rows = [one._asdict() for one in verdict.compared]
    json_file.write(epath.Path(folder) / FILE, verdict._asdict() | {"compared": rows})


def read(folder: str | os.PathLike) -> Verdict | None:
    """Returns the verdict in a run's folder; None where there is none.

    Raises:
      InputError: the file is damaged.
    """
    path = epath.Path(folder) / FILE
    if whole_file.problem(path) == "is missing":
        return None
    found = json_file.read(path)
    try:
        compared = tuple(_compared(row) for row in found["compared"])
        left_out, predictions = tuple(map(str, found["left_out"])), str(found["predictions"])
        return Verdict(bool(found["transferred"]), compared, left_out, predictions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{path} is damaged: it is no verdict of a run ({error!s:.100}); remove it") from None


def _compared(row: Mapping[str, Any]) -> Compared:
    kinds = Compared.__annotations__
    made = {name: kinds[name](row[name]) for name in Compared._fields}
    if made["word"] not in _WORDS or made["kind"] not in (SCRATCH, TRIVIAL):
        raise ValueError(f"unknown word {made['word']!r:.40}")
    return Compared(**made)
