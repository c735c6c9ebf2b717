"""Weights & Biases, which takes its settings from the environment, too: WANDB_API_KEY, WANDB_MODE=offline, …"""

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jtransfer.core.errors import InputError
from jtransfer.tracking.appending import is_remote
from jtransfer.tracking.tracker import Tracked, Tracker

try:
    wandb: Any = importlib.import_module("wandb")
except ImportError:
    raise InputError("its library is missing: pip install 'jtransfer[wandb]'") from None


def make(
    run: Tracked,
    *,
    project: str = "jtransfer",
    entity: str = "",
    group: str = "",
    run_name: str = "",
    tags: Sequence[str] = (),
    mode: Literal["", "online", "offline", "disabled"] = "",
) -> Tracker:
    """Returns the tracker.

    Args:
      run: The run.
      project: The project; it is made if it isn't there.
      entity: The user or team; "" is the usual one.
      group: What the run is grouped under.
      run_name: What the run is shown as; "" is the name of its folder.
      tags: Words that it is found by.
      mode: "offline" writes into the run's folder, for `wandb sync`; "" is $WANDB_MODE, or "online".
    """
    opened = wandb.init(
        project=project,
        entity=entity or None,
        group=group or None,
        name=run_name or run.name,
        tags=list(tags),
        mode=mode or None,
        id=run.id or None,
        resume="allow",
        config=dict(run.config),
        dir=None if is_remote(run.folder) else os.fspath(run.folder),
        settings=wandb.Settings(console="off", silent=True),
    )
    opened.define_metric("step")
    opened.define_metric("*", step_metric="step")

    def write(step: int, scalars: Mapping[str, float]) -> None:
        opened.log({"step": step, **scalars})

    return Tracker(write, opened.finish, opened.id)
