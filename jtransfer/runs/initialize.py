"""Where the variables come from, in one order: 1 resume, 2 restore, 3 pretrained, 4 scratch; and one printed table.

Resuming (1) is the loop's: it finds a checkpoint in the folders. Otherwise `config.init` says it: the folder of another
run is restored (2), any other path or address is a pretrained checkpoint (3), "scratch" draws everything anew (4).
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer import models, peft, weights
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import height_width
from jtransfer.models import forward
from jtransfer.runs import adapters, part_weights
from jtransfer.runs import folder as folders
from jtransfer.runs.open import open as open_run
from jtransfer.training import checkpoint
from jtransfer.training.state import AUXILIARY
from jtransfer.weights.report import Report


def variables(
    source: weights.Source,
    model: Any,
    mesh: Any,
    table: Any,
    *,
    sample: Any = None,
    reinit: Sequence[str] = (),
    ignore: Sequence[str] = (),
    class_names: Sequence[str] = (),
    wanted: adapters.Wanted | None = None,
    parts: Mapping[str, weights.Source] | None = None,
    seed: int = 0,
    alone: bool = False,
):
    """Returns a model's variables, each of them made, or read, straight into its sharding.

    With several JAX processes, each reads the parts that its devices hold.

    Args:
      source: "scratch", the folder of a run, or an address or an open checkpoint (see `weights.open`).
      model: a Linen module.
      mesh, table: see `sharding.of_params`.
      sample: an input to initialise with; by default the model's own `example_input`.
      reinit: regular expressions over the paths of parameters that are drawn anew although the source has them.
      ignore: regular expressions over the names of tensors of the source that are not looked at.
      class_names: the names of the model's classes, where they are known; the head keeps those that the source has.
      wanted: the adapters that the model is to have. Those of another run go on if they are the same, and otherwise are
        merged into its parameters.
      parts: of a model that is made of others, part → its source; `source` is that of the part "source" then.
      seed: of what is drawn.
      alone: whether one process calls this without the others; then the report has no digest of an address.

    Returns:
      The variables, and the report of the load, which is None for "scratch". "adapters" are among the variables where
      those of another run go on.

    Raises:
      InputError: the source is not there, is damaged, or does not fit the model.
    """
    rng, sample = jax.random.key(seed), model.example_input(1) if sample is None else sample
    draw = functools.partial(forward.initialize, model)
    shapes = jax.eval_shape(draw, rng, sample)
    shardings = sharding.of_params(shapes, mesh, table)
    if hasattr(model, "parts_of") and not _is_whole(source) and (found := part_weights.sources(source, parts or {})):

        def part(source: weights.Source, one: Any, name: str) -> tuple[dict, Report | None]:
            names = class_names if name != part_weights.FIRST else ()
            return variables(source, one, mesh, "replicate", class_names=names, seed=seed, alone=alone)

        return part_weights.fill(model, found, part, functools.partial(draw, rng, sample), shardings, reinit)
    if source == "scratch":
        return jax.jit(draw, out_shardings=shardings)(rng, sample), None
    flat = trees.flatten(shardings)

    def load(tensors: weights.Source, own_names: tuple[str, ...], own_size: tuple[int, int] | None) -> tuple:
        known = own_names and not all(name.isdigit() for name in (*own_names, *class_names))
        return weights.load(
            tensors,
            model,
            reinit=reinit,
            ignore=ignore,
            adapt=True,
            sample=sample,
            class_names=tuple(class_names) if known else None,
            source_class_names=own_names,
            source_image_size=own_size,
            rng=rng,
            place=lambda path, param: sharding.place(param, flat[path]),
            digest=not alone,
        )

    if not folders.is_run(source):
        return load(*_of_weights(source))
    return _of_run(source, load, functools.partial(adapters.begun, wanted=wanted, mesh=mesh, table=table))


def open(init: str, ignore: Sequence[str] = ()) -> weights.Source:
    """Returns `config.init` as a checkpoint that is opened once; "scratch" and the folder of a run as they are.

    Args:
      init: `config.init`.
      ignore: `config.ignore`.

    Raises:
      InputError: there is nothing to ignore, or no such kind of address.
    """
    if init == "scratch" and ignore:
        raise InputError("config.ignore names tensors of `init`, and init is 'scratch'; leave it empty")
    return init if init == "scratch" or folders.is_run(init) else weights.open(init, ignore=tuple(ignore))


def open_parts(config: Any) -> dict[str, weights.Source]:
    """Returns `config.init_parts`, each opened as `open` does."""
    return {name: open(source) for name, source in config.init_parts.items() if isinstance(source, str)}


def _is_whole(source: weights.Source) -> bool:
    """Whether a source is a run of such a model itself, not of a part."""
    return folders.is_run(source) and open_run(source).config.model.name in models.MADE


def _of_run(folder: str | os.PathLike, load: Callable[..., tuple], begun: Callable[..., adapters.Begun]) -> tuple:
    """What `load` makes of the parameters of another run, the names of its classes, and the size of its images where it
    is known. If that run goes on and has replaced the checkpoint meanwhile, it is loaded once more."""
    run = open_run(folder)
    size = run.config.model.fields.get("image_size")
    known = tuple(run.class_names), height_width(size) if size else None

    def make(held: Mapping[str, Any]) -> tuple:
        found = begun(run, held)
        made, report = load(_parameters(found.tensors), *known)
        more = {adapters.COLLECTION: found.adapters} if found.adapters else {}
        return {**made, **more}, dataclasses.replace(report, notes=(*report.notes, *found.notes))

    if jax.process_count() > 1:  # all have to read the same checkpoint
        return make(checkpoint.lazy_params(folder, run.step()))
    held = functools.partial(checkpoint.tensors, folder)
    return checkpoint.attempt(folder, run.step(), lambda found: make(held(found)))


def _of_weights(source: weights.Source) -> tuple[weights.Checkpoint, tuple[str, ...], tuple[int, int] | None]:
    """A checkpoint, the names of its classes, and the size of its images, as far as files beside it say them."""
    checkpoint = weights.open(source)
    names = checkpoint.class_names
    try:
        return checkpoint, names, checkpoint.image_size
    except InputError:  # they state what no model here has, and the model was given
        return checkpoint, names, None


def _parameters(held: Mapping[str, Any]) -> dict[str, Any]:
    parts = {tuple(path.split("/", 1)): tensor for path, tensor in held.items()}
    stored = {path: tensor.read() for (collection, path), tensor in parts.items() if collection == "quantized"}
    kernels = peft.dequantize({"quantized": trees.unflatten(stored)}).get("params", {})
    own = {path: tensor for (collection, path), tensor in parts.items() if collection not in (*AUXILIARY, "quantized")}
    return own | trees.flatten(jax.tree.map(np.asarray, kernels))


def counts(report: Report | None, loaded: Collection[str] = ()) -> dict[str, Any]:
    """Returns what the log of a run says of a load that gave these collections."""
    if report is None:
        return {}
    return {
        "scheme": report.scheme,
        "digest": report.digest,
        "loaded": len(report.loaded),
        "adapted": [f"{path}: {what}" for path, what in report.adapted],
        "reinitialised": [path for path, _ in report.reinitialised],
        "ignored": [name for name, _ in report.ignored],
        "differs": report.conflicts,
        "unsure": list(report.unsure),
        "notes": list(report.notes),
        **({"adapters": "loaded"} if adapters.COLLECTION in loaded else {}),
    }
