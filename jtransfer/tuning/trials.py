"""A short run whose validation split chooses, and what is read of it."""

import contextlib
import io
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from etils import epath

from jtransfer import train
from jtransfer.runs import log
from jtransfer.runs.config import evaluation
from jtransfer.runs.evaluation import ENDS, TEST


class Curve(NamedTuple):
    """What the validation split has said of a run so far.

    Attributes:
      steps: At which it was looked at, ascending.
      values: The metric there.
      losses: The loss there; nan where there is none.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    losses: tuple[float, ...]


def without_test(config: Any, validation: str, every: int) -> Any:
    """Returns a config whose run looks at its validation split alone: the test split is not even opened.

    Args:
      config: A config that is not locked; it is changed.
      validation: The split.
      every: Steps between two looks at it; 0 leaves what the config says.
    """
    config.data.validation = config.data.test = validation
    config.evals = [evaluation("split", "validation")]
    if every:
        config.eval_every = config.log_every = every
    config.checkpoint_every, config.keep = 10**9, 1
    config.early_stop.patience = 0
    config.model_selection = "best"
    return config


def tested_at_ends(config: Any) -> Any:
    """Returns a config whose run looks at the test split when phases end, and not before; it is changed."""
    ends = {"every": ENDS}
    config.evals = [type(one)({**one.to_dict(), **(ends if one.split == TEST else {})}) for one in config.evals]
    return config


def go_on(config: Any, folder: str | os.PathLike, pause: Callable[[int, float], bool]) -> None:
    """Trains on in a folder until `pause`, as `train.run` takes it, without a word on standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        train.run(config, folder, pause)


def curve(folder: str | os.PathLike, metric: str) -> Curve:
    """Returns what the validation split has said of the run in a folder; nothing where there is no run."""
    if not (epath.Path(folder) / log.FILE).exists():
        return Curve((), (), ())
    lines = [one for one in log.read(folder) if one.get("split") == "validation" and one.get(metric) is not None]
    losses = [one.get("loss") for one in lines]
    return Curve(
        tuple(one["step"] for one in lines),
        tuple(one[metric] for one in lines),
        tuple(float("nan") if loss is None else loss for loss in losses),
    )
