"""What a report says of a run on several domains: how far apart the model's features of them are, before and after."""

import contextlib
import io
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from markupsafe import Markup

from jtransfer import data
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.metrics import adaptation
from jtransfer.models import forward
from jtransfer.objectives import Context
from jtransfer.objectives.seen import stage
from jtransfer.reporting import figures
from jtransfer.runs import assemble, build, frozen, looks
from jtransfer.runs.open import StoredRun
from jtransfer.runs.stream import spec_of

MOST = 500  # examples of a domain
_DOMAINS = 4  # at most, the target first
_LEAST = 8  # examples of a domain, with fewer of which no distance is told
_LONGEST = 2000  # characters of a line


def describe(run: StoredRun) -> dict[str, Any]:
    """Returns what the report says of domains, under "domains"; None of a run with one domain alone."""
    if not run.config.streams and not _other_splits(run):
        return {"domains": None}
    try:
        if jax.process_count() > 1:
            raise InputError("several processes share the run; make the report again with one")
        return {"domains": _compared(run)}
    except (InputError, OSError) as error:
        line = one_line(f"the domains are not compared: {error}", _LONGEST)
        say(f"report: {line}", sys.stderr)
        return {"domains": {"problem": line}}


def _compared(run: StoredRun) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):  # what is said of the data was said when the run began
        mesh = sharding.make_mesh({sharding.DATA: 1}, jax.local_devices()[:1])
        opened = build.opened(run.config, run.folder, mesh)
        before, after = frozen.begun(run), run.variables()
    at = _stage(opened)
    found = {when: _features(opened, run, variables, at) for when, variables in (("before", before), ("after", after))}
    first, *others = found["after"]
    for name in others:
        if found["after"][name].shape[1] != found["after"][first].shape[1]:
            raise InputError(f"{at!r} returns vectors of other widths for {first} and {name}")
    few = [name for name in others if min(len(found["after"][name]), len(found["after"][first])) < _LEAST]
    rows = [
        {"name": name, **{when: adaptation.a_distance(one[name], one[first]) for when, one in found.items()}}
        for name in others
        if name not in few
    ]
    return {
        "problem": "",
        "first": first,
        "stage": at,
        "examples": {name: len(x) for name, x in found["after"].items()},
        "width": found["after"][first].shape[1],
        "rows": rows,
        "figure": Markup(figures.domains({when: _projected(one) for when, one in found.items()})),
    }


def _stage(run: Any) -> str:
    """The last of the stages that the objective's terms look at, or else the one before the head."""
    asked = assemble.objective(run._replace(phases=[])).features
    stages = forward.stages(run.model)
    asked = tuple(name for name in asked if name != forward.OUTPUT and (name in stages or not stages))
    at = max(asked, key=stages.index) if asked and stages else next(iter(asked), "")
    return stage(Context(run.model, {}, 0), "report", at)


def _other_splits(run: StoredRun) -> list[str]:
    """Splits of the target that the run is evaluated on beside those that have names."""
    asked = dict.fromkeys(entry.split for entry in run.config.evals if entry.name == "split")
    return [split for split in asked if split not in ("train", "validation", "test")]


def _features(run: Any, stored: StoredRun, variables: Mapping[str, Any], at: str) -> dict[str, np.ndarray]:
    """Domain → features [N, d] of a few of its examples, evenly spread."""
    found = {}
    for name, stream in run.streams.items():
        if stream.modality_name == run.target.modality_name:
            found[name] = _of(run, stream, stream.sources["train"], variables, at)
    for split in _other_splits(stored):
        spec = spec_of(run.config.data, run.config.modality, run.config.task)
        source = run.target.modality.pack(data.open(spec, split), run.target.task)
        found[split] = _of(run, run.target, source, variables, at)
    return dict(list(found.items())[:_DOMAINS])


def _of(run: Any, stream: Any, source: Any, variables: Mapping[str, Any], at: str) -> np.ndarray:
    few = source if len(source) <= MOST else data.subsample(source, MOST)
    return looks.seen_of(run, stream, None)(variables, few, at)["features"]


def _projected(domains: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Domain → [N, 2]: the features along the two directions in which those of all domains vary most (PCA)."""
    x = np.concatenate(list(domains.values())).astype(np.float64)
    _, _, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    directions = directions[:2] * np.where(directions[:2].sum(1, keepdims=True) < 0, -1, 1)
    flat = (x - x.mean(0)) @ directions.T
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    return dict(zip(domains, np.split(flat, np.cumsum([len(one) for one in domains.values()])[:-1]), strict=True))
