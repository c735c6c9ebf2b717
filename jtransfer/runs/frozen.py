"""What is frozen in a phase, made again from a run's init; and what of it need not be written for that."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.rules import OWN
from jtransfer.runs import adapters, adapters_init, assemble, initialize
from jtransfer.runs import folder as folders
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run
from jtransfer.runs.position import Position

Run = Any  # build.Run


def load(run: Run) -> tuple[dict, Any]:
    """Returns the variables that a run begins with, and the report of the load, as `initialize.variables`."""
    config = run.config
    shapes = assemble.abstract(run, 0).variables().get(adapters.COLLECTION, {})
    found, report = initialize.variables(
        run.init,
        run.model,
        run.mesh,
        config.sharding,
        sample=run.sample,
        reinit=config.reinit,
        ignore=config.ignore,
        class_names=run.target.class_names,
        wanted=adapters.Wanted(adapters.rows_of(config), shapes),
        parts=run.init_parts,
        seed=config.seed,
    )
    found, lines = adapters_init.put(run, found)
    if report is not None and lines:
        report = dataclasses.replace(report, notes=(*report.notes, *lines))
    return found, report


def of_phase(run: Run, saved: Mapping[str, Any]) -> dict:
    """Returns what is frozen in the phase of a checkpoint, made again from the run's init, each array in its sharding.

    Args:
      run: the run.
      saved: the position that was saved with the checkpoint.
    """
    number = Position(**saved).number
    placed = jax.tree.map(lambda leaf: leaf.sharding, assemble.abstract(run, number).frozen)
    begin = jax.jit(lambda variables: assemble.begin(run, number, variables).frozen, out_shardings=placed)
    return begin(load(run)[0])


def absent(run: Run, number: int, told: Mapping[str, Any]) -> set[str]:
    """Returns the paths of what is frozen in a phase and need not be written: arrays of the model that are the init's,
    and that no phase has trained so far. The folder of another run may change, so that what it gives is written.

    Args:
      run: the run.
      number: of the phase.
      told: what the run began with, as `initialize.counts` gives it.
    """
    inits = (run.init, *run.init_parts.values())
    if run.config.base == "copy" or run.config.init == "scratch" or any(map(folders.is_run, inits)):
        return set()
    still = (trees.flatten(assemble.abstract(run, n).frozen) for n in range(number + 1))
    drawn = {*told.get("reinitialised", ()), *adapters_init.paths(run)}
    own = OWN - {"batch_stats"} if any(phase.statistics for phase in run.phases[: number + 1]) else OWN
    return {
        path
        for path in set.intersection(*map(set, still))
        if (split := path.partition("/"))[0] in own and split[2] not in drawn
    }


def on_host(folder: str | os.PathLike, dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Returns arrays of a run that its folder holds no copy of, by their paths, made again from its init.

    Args:
      folder: the run's folder.
      dtypes: path → dtype.

    Raises:
      InputError: the init is gone, or is not what it was.
    """
    flat = trees.flatten(begun(open_run(folder)))
    return {path: np.asarray(flat[path].astype(dtype)) for path, dtype in dtypes.items() if path in flat}


def begun(run: StoredRun) -> dict:
    """Returns the variables that a stored run began with, without adapters, made again from its init.

    Raises:
      InputError: the init is gone.
    """
    config = run.config
    found, _ = initialize.variables(
        initialize.open(config.init, config.ignore),
        run.model,
        sharding.make_mesh({sharding.DATA: 1}, jax.local_devices()[:1]),
        "replicate",
        sample=run.sample,
        reinit=config.reinit,
        class_names=run.class_names,
        parts=initialize.open_parts(config),
        seed=config.seed,
        alone=True,
    )
    return found
