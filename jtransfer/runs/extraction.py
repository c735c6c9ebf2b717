"""The features that a model makes of examples, computed once and written where any library reads them."""

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import data
from jtransfer.core import sharding
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import say
from jtransfer.data import Source
from jtransfer.evaluators import gather
from jtransfer.layers.masked import masked_mean
from jtransfer.modalities import Modality, faces
from jtransfer.models import forward
from jtransfer.models.paths import HEAD
from jtransfer.runs import build, fingerprint, frozen
from jtransfer.runs import config as configs
from jtransfer.runs import folder as folders
from jtransfer.runs.batches import eval_batch_size, processes
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run
from jtransfer.runs.stream import SPLITS, spec_of
from jtransfer.tasks import Task
from jtransfer.training.state import AUXILIARY

_COMMAS = re.compile(r",(?![^(]*\))")


class Table(NamedTuple):
    """The features of a split.

    Attributes:
      features: float32 [N, d].
      labels: int32 [N] of classes, float32 [N] of numbers or [N, C] of several classes; None where there are none.
      index: int64 [N], the number of each example in its data set.
      class_names: The names of the classes, in order.
    """

    features: np.ndarray
    labels: np.ndarray | None
    index: np.ndarray
    class_names: list[str]


class Trunk(NamedTuple):
    """What computes features.

    Attributes:
      model, variables: The model.
      modality, task: Of the examples.
      sample: Zeros of the shapes of the model's input.
      batch_size, threads: Of the config.
      open: A function from the name of a split, or an expression, to its examples.
      named: The names of the splits that the config has.
    """

    model: Any
    variables: dict
    modality: Modality
    task: Task
    sample: Any
    batch_size: int
    threads: int
    open: Callable[[str], Source]
    named: tuple[str, ...]


def of_run(run: StoredRun, step: int | str | None = None) -> Trunk:
    """Returns the model of a run, to be run on its own data.

    Args:
      run: The run.
      step: As `StoredRun.variables` takes it.
    """
    config = run.config

    def open_split(split: str) -> Source:
        expression = config.data[split] if split in SPLITS else split
        whole = data.open(spec_of(config.data, config.modality, config.task), expression)
        if split in SPLITS and jax.process_index() == 0 and (line := fingerprint.changes(run.folder, split, whole)):
            say(line, file=sys.stderr)
        return whole

    named = tuple(split for split in SPLITS if config.data[split])
    how = eval_batch_size(config), config.data.threads
    return Trunk(run.model, run.variables(step), run.modality, run.task, run.sample, *how, open_split, named)


def of_config(config: Any, folder: str) -> Trunk:
    """Returns the model that a run of a config would begin with, to be run on the config's data.

    Args:
      config: The config.
      folder: The path of a folder that there is not.
    """
    run = build.prepare(config, folder)
    variables = jax.device_get(frozen.load(run)[0])
    target, spec = run.target, spec_of(run.config.data, run.config.modality, run.config.task)

    def open_split(split: str) -> Source:
        return target.whole[split] if split in target.whole else data.open(spec, split)

    how = eval_batch_size(run.config), run.config.data.threads
    return Trunk(run.model, variables, target.modality, target.task, run.sample, *how, open_split, tuple(target.whole))


def trunk(source: str | os.PathLike, config: Any = None, step: int | str | None = None) -> Trunk:
    """Returns what computes features: a model, its variables, and the data that they are of.

    Args:
      source: The folder of a run, or weights; "" is what the config begins with.
      config: The config of data and model; None takes a run's own.
      step: Of a run that is given without a config, as `runs.open` takes it.

    Raises:
      InputError: There is no such run or step, or neither a run nor a config is given.
    """
    if config is None:
        if not folders.is_run(source):
            raise InputError(f"{source or 'the source'} is not the folder of a run; give --config=FILE, of the data")
        return of_run(open_run(source), step)
    if step is not None:
        raise InputError("--step is of a run without --config; leave one out")
    full = configs.complete(config).copy_and_resolve_references().unlock()
    full.init = os.fspath(source) or full.init
    return of_config(full, f"{os.fspath(source) or 'features'}/.none")


def splits_of(text: str) -> list[str]:
    """Returns the splits that a flag names, separated by commas outside of parentheses."""
    return [part.strip() for part in _COMMAS.split(text) if part.strip()]


def extract(trunk: Trunk, splits: list[str], stage: str = "", *, mean: bool = False) -> dict[str, Table]:
    """Returns the features of splits. With several JAX processes, each calls this function and gets all features.

    Args:
      trunk: What computes them.
      splits: Names of splits of the config, or one expression; none are all that the config has.
      stage: The stage whose output they are, or the path of a submodule; "" is what the head is given.
      mean: Whether the mean over places is taken (`pooled`); else a map is written as one long vector.

    Raises:
      InputError: There is no such split or stage, its output is no vector or map of fixed size, or the examples have
        several labels each.
    """
    make = _maker(trunk, stage)
    if mean:
        make = _mean(make, stage)
    _check_shape(trunk, make, stage)
    found = of_each(trunk, splits, lambda variables, x: {stage: make(variables, x)})
    return {split: tables[stage] for split, tables in found.items()}


def of_each(
    trunk: Trunk, splits: Sequence[str], make: Callable[[Any, Any], Mapping[str, Any]]
) -> dict[str, dict[str, Table]]:
    """Returns several features of splits, of one pass of the model: split → name → table.

    Args:
      trunk: What computes them.
      splits: As of `extract`.
      make: `(variables, the model's input) -> {name: an array [B, …]}`; arrays are flattened.

    Raises:
      InputError: There is no such split, an example has several labels, or a number is not finite.
    """
    for split in splits:
        if split in SPLITS and split not in trunk.named:
            raise unknown("split of the config", split, trunk.named)
    trunk = trunk._replace(task=_alone(trunk.task))
    transform = faces.make_transform(trunk.modality, trunk.task, trunk.model, train=False)
    mesh = sharding.make_mesh({sharding.DATA: -1})
    preprocess = faces.make_preprocess(trunk.modality, trunk.model, train=False)
    held = {name: tree for name, tree in trunk.variables.items() if name not in AUXILIARY}
    placed = jax.tree.map(sharding.place, held, sharding.of_params(held, mesh, "replicate"))
    step = jax.jit(lambda variables, batch: {"features": make(variables, preprocess(batch["inputs"]))})
    opened = {split: trunk.open(split) for split in splits or trunk.named}
    for source in opened.values():
        trunk.modality.check(trunk.task, source[0])
        if source.label_kind == "tags":
            raise InputError("examples with a label for each word have no label each; features are not for them")
    return {split: _tables(step, placed, trunk, source, transform, mesh) for split, source in opened.items()}


def _tables(
    step: Callable, variables: Any, trunk: Trunk, source: Source, transform: Any, mesh: Any
) -> dict[str, Table]:
    size = -(-trunk.batch_size // mesh.size) * mesh.size

    def batches() -> Iterator[dict]:
        packed = trunk.modality.pack(source, trunk.task)
        for batch in data.eval_batches(packed, transform, size, **processes(), threads=trunk.threads):
            yield sharding.put_batch(batch, mesh)

    found = gather(step, variables, batches())
    labels = None if source.label_kind == "none" else source.labels[found["index"]]
    index = found["index"] if source.numbers is None else source.numbers[found["index"]]
    about = labels, np.asarray(index, np.int64), list(source.class_names)
    return {name: Table(_vectors(array), *about) for name, array in found["features"].items()}


def _vectors(array: np.ndarray) -> np.ndarray:
    features = np.asarray(array, np.float32).reshape(len(array), -1)
    if wrong := np.flatnonzero(~np.isfinite(features).all(1)).tolist():
        raise InputError(f"the features of example {wrong[0]} and {len(wrong) - 1} others are not finite numbers")
    return features


def _alone(task: Task) -> Task:
    if task.form == "pair":
        return dataclasses.replace(task, form="single")
    if task.form != "single":
        raise InputError(f"task={task.name!r} is not of one input for each example, of which there could be features")
    return task


def _maker(trunk: Trunk, stage: str) -> Callable[[Any, Any], Any]:
    """`(variables, the model's input) -> what the stage gives`."""
    stages = forward.stages(trunk.model)
    if not stages:
        if not stage:
            raise InputError(f"{type(trunk.model).__name__} has no stages; name the path of a submodule with --stage")
        return lambda variables, x: forward.apply(trunk.model, variables, x, outputs=(stage,))[0][stage]
    if stage and stage not in stages:
        raise unknown("stage", stage, stages)
    stop = HEAD if not stage else ([*stages, None][stages.index(stage) + 1])
    return lambda variables, x: forward.apply(trunk.model, variables, x, stop=stop)[0]


def _mean(make: Callable[[Any, Any], Any], stage: str) -> Callable[[Any, Any], Any]:
    return lambda variables, x: pooled(make(variables, x), stage or "before the head")


def pooled(output: Any, stage: str) -> jax.Array:
    """Returns the mean over places of what a stage gives, [B, d]: of texts, over the tokens that are no filling.

    Raises:
      InputError: The stage gives something else than one array of numbers, alone or as "x" of a text.
    """
    x: Any = output.get("x") if isinstance(output, Mapping) else output
    mask = output.get("mask") if isinstance(output, Mapping) else None
    if getattr(x, "ndim", 0) < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"the stage {stage!r} gives no vectors or maps of numbers to probe; name others with --stages")
    if mask is not None and x.ndim == 3:
        x = masked_mean(x, mask[:, 0, 0])
    return x.astype(jnp.float32).mean(tuple(range(1, x.ndim - 1)))


def _check_shape(trunk: Trunk, make: Callable, stage: str) -> None:
    transform = faces.make_transform(trunk.modality, _alone(trunk.task), trunk.model, train=False)
    varies = hasattr(transform, "collate")
    found = jax.eval_shape(make, trunk.variables, trunk.sample)
    shape = getattr(found, "shape", None)
    where = f"the stage {stage!r}" if stage else "the stage before the head"
    if shape is None or (varies and len(shape) != 2) or len(shape) < 2:
        given = f"{list(shape)}" if shape is not None else "several arrays"
        raise InputError(f"{where} gives {given}, not a vector for each example; name another with --stage")
    if len(shape) > 2 and jax.process_index() == 0:
        say(
            f"{where} gives [N, {', '.join(map(str, shape[1:]))}], of which vectors of {np.prod(shape[1:])} are written"
        )
