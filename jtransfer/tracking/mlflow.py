"""MLflow, on a server, in a database or in a folder: MLFLOW_TRACKING_URI says where, or the field `tracking_uri`."""

import importlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.tracking.tracker import Tracked, Tracker

try:
    entities: Any = importlib.import_module("mlflow.entities")
    tracking: Any = importlib.import_module("mlflow.tracking")
except ImportError:
    raise InputError("its library is missing: pip install 'jtransfer[mlflow]'") from None

_LONGEST = 500  # characters of a parameter, in all versions
_AT_ONCE = 100  # parameters


def make(run: Tracked, *, tracking_uri: str = "", experiment: str = "jtransfer", run_name: str = "") -> Tracker:
    """Returns the tracker.

    Args:
      run: The run. Its config becomes the parameters, which a run that goes on leaves as they are.
      tracking_uri: Of the server, the database or the folder; "" is the usual one.
      experiment: The experiment; it is made if it isn't there.
      run_name: What the run is shown as; "" is the name of its folder.
    """
    client = tracking.MlflowClient(tracking_uri=tracking_uri or None)
    id = run.id or _begun(client, experiment, run_name or run.name, run.config)
    if run.id:
        client.set_terminated(id, status="RUNNING")

    def write(step: int, scalars: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        client.log_batch(id, metrics=[entities.Metric(name, value, now, step) for name, value in scalars.items()])

    return Tracker(write, lambda: client.set_terminated(id), id)


def _begun(client: Any, experiment: str, name: str, config: Mapping[str, Any]) -> str:
    known = client.get_experiment_by_name(experiment)
    where = known.experiment_id if known else client.create_experiment(experiment)
    id = client.create_run(where, run_name=name).info.run_id
    params = [entities.Param(key, str(value)[:_LONGEST]) for key, value in _flat(config) if str(value)]
    for first in range(0, len(params), _AT_ONCE):
        client.log_batch(id, params=params[first : first + _AT_ONCE])
    return id


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
