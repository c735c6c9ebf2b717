"""Aim, in a folder that `aim up` shows."""

import importlib
from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.tracking.tracker import Tracked, Tracker

try:
    aim: Any = importlib.import_module("aim")
except ImportError:
    raise InputError("its library is missing: pip install 'jtransfer[aim]'") from None


def make(run: Tracked, *, repo: str = "", experiment: str = "jtransfer", run_name: str = "") -> Tracker:
    """Returns the tracker.

    Args:
      run: The run.
      repo: The folder or server of Aim's repository; "" is the working directory, or $AIM_REPO. It is made if it isn't
        there.
      experiment: The experiment.
      run_name: What the run is shown as; "" is the name of its folder.
    """
    if repo and "://" not in repo and not aim.Repo.exists(repo):
        aim.Repo.from_path(repo, init=True)
    where = {"run_hash": run.id or None, "repo": repo or None, "experiment": experiment}
    opened = aim.Run(**where, system_tracking_interval=None, capture_terminal_logs=False)
    opened.name = run_name or run.name
    opened["config"] = dict(run.config)

    def write(step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            opened.track(value, name=name, step=step)

    return Tracker(write, opened.close, opened.hash)
