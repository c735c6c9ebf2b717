"""The metrics of a stored run's model, by any of its checkpoints, on any data."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.errors import FlaxError

from jtransfer import data as datasets
from jtransfer import modalities, tasks
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.data import Source
from jtransfer.evaluators import EVALUATORS, Context, Evaluate, gather
from jtransfer.modalities import faces
from jtransfer.models import forward
from jtransfer.runs import config as configs
from jtransfer.runs import filling, fingerprint, protocol, same_classes
from jtransfer.runs.batches import processes
from jtransfer.runs.open import StoredRun
from jtransfer.runs.stream import spec_of
from jtransfer.training import checkpoint
from jtransfer.training.state import AUXILIARY
from jtransfer.training.view_step import make_view_step

NAMED = ("train", "validation", "test")


class Measured(NamedTuple):
    """What an evaluation found.

    Attributes:
      step: of the checkpoint.
      data: the name of the data set.
      split: the expression of the split.
      examples: how many there are.
      metrics: name → value.
      protocol: words on what chose the step, where it is the run's model; else "".
      tta: the views that outputs were averaged over for `averaged`; "" for none.
      averaged: name → value, of the average over the views.
    """

    step: int
    data: str
    split: str
    examples: int
    metrics: dict[str, float]
    protocol: str = ""
    tta: str = ""
    averaged: Mapping[str, float] = MappingProxyType({})


def measure(
    run: StoredRun, step: int | str | None = None, *, data: str = "", split: str = "test", tta: str = ""
) -> Measured:
    """Returns the metrics of the run's task and of its `config.metrics`, and those of texts that it generates.

    Args:
      run: the run.
      step: as `StoredRun.variables` takes it.
      data: the name of a data set as in `config.data.name`, which is read with the other fields of the run's
        `config.data`; "" is the run's own.
      split: of the run's own data, "train", "validation" or "test" as its config has them; otherwise an expression such
        as "test[:500]".
      tta: the views of each example that outputs are averaged over, such as "flip_lr"; the metrics without them are
        told as well.

    With several JAX processes, each must call this function, sees a part of each batch, and returns the same.

    Raises:
      InputError: there is no such step, data set or split, or the data have no labels that the model was trained for.
    """
    faces.make_evaluation(run.modality, run.task, run.model, tta) if tta else None
    config = run.config
    where, named = data or config.data.name, ""
    if not data and split in NAMED:
        named, split = split, config.data[split]
        if not split:
            raise InputError(f"the run has no {named} split; give another one, such as --split=test, or an expression")
    checkpoint.resolve(run.folder, run.step(step))
    whole = datasets.open(spec_of(config.data, config.modality, config.task) | {"name": where}, split)
    if named and jax.process_index() == 0 and (line := fingerprint.changes(run.folder, named, whole)):
        say(line, file=sys.stderr)
    run.modality.check(run.task, whole[0])
    tasks.check(config.task, run.task, whole)
    source = run.modality.pack(same_classes.renumbered(whole, run.class_names, where), run.task)
    mesh = sharding.make_mesh({sharding.DATA: -1})
    names = ["split"]
    if run.task.generates == "targets" and config.generate.num_examples:
        names.append("generation")
    contexts = [_context(run, source, mesh, views) for views in ("", *([tta] if tta else []))]
    evaluators = [[EVALUATORS[name](context, split) for name in names] for context in contexts]
    found, loaded = checkpoint.load(run.folder, run.step(step))
    variables = {name: tree for name, tree in loaded.items() if name not in AUXILIARY}
    variables = jax.tree.map(sharding.place, variables, sharding.of_params(variables, mesh, "replicate"))
    metrics, *averaged = [_metrics(several, variables) for several in evaluators]
    chosen = _chosen(run) if step is None else ""
    return Measured(found, where, split, len(whole), metrics, chosen, tta, averaged[0] if averaged else {})


def _metrics(evaluators: Sequence[Evaluate], variables: Mapping[str, Any]) -> dict[str, float]:
    told = (pair for evaluate in evaluators for pair in evaluate(variables))
    return {name: float(value) for name, value in told if not (isinstance(value, np.ndarray) and value.ndim)}


def _chosen(run: StoredRun) -> str:
    with contextlib.suppress(InputError):  # there is no log, or it is damaged
        return protocol.told_of(run.lines)
    return ""


def with_data(run: StoredRun, fields: Mapping[str, Any]) -> StoredRun:
    """Returns the run with other fields of `config.data`, such as the name of a column.

    Raises:
      InputError: there is no such field, it is of another modality, or the run's model would be another.
    """
    if not fields:
        return run
    config = run.config.copy_and_resolve_references().unlock()
    config.data = filling.fill(config.data.to_dict(), fields, "data", configs.FREE)
    changed = dataclasses.replace(run, config=configs.complete(config))
    for name, other in modalities.foreign_fields(type(run.modality), fields):
        raise InputError(
            f"data.{name} is for {other.nouns[1]}, and the run's are {run.modality.nouns[1]}; leave it out"
        )
    if changed.model != run.model:
        raise InputError(f"the run's model was made for other data than with {', '.join(fields)}; leave them out")
    return changed


def _context(run: StoredRun, source: Source, mesh: Any, tta: str) -> Context:
    """What evaluators know of a stored run; every split is the given source."""
    config, task, modality, model = run.config, run.task, run.modality, run.model
    size = -(-(config.eval_batch_size or config.batch_size) // mesh.size) * mesh.size
    transform = faces.make_evaluation(modality, task, model, tta)
    preprocess = faces.make_preprocess(modality, model, train=False)
    average = task.average if tta else None
    step = jax.jit(make_view_step(model, preprocess=preprocess, keep=task.keep, average=average))

    def batches(source: Source) -> Iterator[dict]:
        own = datasets.eval_batches(source, transform, size, **processes(), threads=config.data.threads)
        for number, batch in enumerate(own):
            if not number:
                _check(model, preprocess, run.sample, _one_view(batch["inputs"]) if tta else batch["inputs"])
            yield sharding.put_batch(batch, mesh)

    def of_source(variables: Mapping[str, Any], source: Source) -> dict[str, Any]:
        return gather(step, variables, batches(source))

    def table(variables: Mapping[str, Any], split: str) -> dict[str, Any]:
        return of_source(variables, source)

    return Context(config, model, task, modality, run.class_names, lambda split: source, batches, table, of_source)


def _one_view(inputs: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[:, 0], inputs)


def _check(model: Any, preprocess: Any, sample: Any, inputs: Any) -> None:
    try:
        x = jax.eval_shape(preprocess, inputs)
        jax.eval_shape(lambda x: forward.apply(model, forward.initialize(model, jax.random.key(0), sample), x)[0], x)
    except (FlaxError, TypeError, ValueError) as error:
        shapes = ", ".join(str(list(leaf.shape[1:])) for leaf in jax.tree.leaves(inputs))
        raise InputError(
            f"the run's model can't take inputs of the shape {shapes}, which these data have: "
            f"{' '.join(str(error).split()):.200}"
        ) from error
