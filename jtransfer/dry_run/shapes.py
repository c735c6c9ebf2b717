"""The shapes of what a phase's steps are given: states, and the widest batches, of which nothing is on a device."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from jtransfer import data, objectives
from jtransfer.core import sharding
from jtransfer.data import mixture
from jtransfer.objectives import TARGET
from jtransfer.runs import assemble, batches, feed
from jtransfer.training import step as steps
from jtransfer.training.phases import Phase

Run = Any  # build.Run


def per_device(tree: Any) -> int:
    """Returns the bytes of a tree of arrays, or of their shapes with shardings, on one device."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def feed_of(run: Run, phase: Phase) -> feed.Feed:
    """Returns the examples of a phase, of which none are read or computed."""
    return feed.Feed(run, phase, assemble.first_run(run, phase) if phase.cache else None)


def without_teachers(run: Run) -> objectives.Objective:
    """Returns the objective of a run without the terms that learn from teachers, whose outputs are made when it
    begins."""
    made = assemble.objective(run)
    return made._replace(terms={name: term for name, term in made.terms.items() if not term.teachers})


def batches_of(run: Run, number: int, state: Any) -> Iterator[Any]:
    """Yields the shapes of a batch of training, as wide as there may be; where streams alternate, of each stream.

    Args:
      run: The run.
      number: The number of the phase.
      state: The shapes of its state.
    """
    phase = run.phases[number]
    counts = batches.sizes(run, phase.optim["accumulate"])
    start, strong = feed_of(run, phase).start, without_teachers(run).strong
    parts = {
        name: _batch(run, stream, counts[name], start, state, strong=name in strong)
        for name, stream in run.streams.items()
    }
    if len(run.streams) == 1:
        yield parts[TARGET]
    elif run.config.mixing.mode == "alternate":
        cycle = set(mixture.turns(run.shares).cycle)
        yield from ({name: part} for name, part in parts.items() if name in cycle)
    else:
        yield parts


def evaluated(run: Run, number: int, state: Any) -> Any:
    """Returns the shapes of a batch of an evaluation of the target, as wide as there may be."""
    start = feed_of(run, run.phases[number]).start
    return _batch(run, run.target, batches.eval_batch_size(run.config), start, state, train=False)


def eval_step(run: Run, phase: Phase) -> Any:
    """Returns the step of an evaluation of the target in a phase, jitted."""
    fed, keep = feed_of(run, phase), run.target.task.keep
    make = functools.partial(steps.make_eval_step, run.model, keep=keep)
    step = (
        make(preprocess=run.target.preprocess(run.model, train=False)) if fed.start is None else make(start=fed.start)
    )
    return jax.jit(fed.divided(step))


def extraction(run: Run, phase: Phase, state: Any) -> tuple[Any, Any]:
    """Returns the step by which a phase with `cache` computes its features, jitted, and the shapes of its batch."""
    batch = _batch(run, run.target, batches.eval_batch_size(run.config), None, state, train=False)
    return _prefix(run, run.target, assemble.first_run(run, phase)), batch


def _prefix(run: Run, stream: Any, stage: str) -> Any:
    return jax.jit(steps.make_eval_step(run.model, preprocess=stream.preprocess(run.model, train=False), stop=stage))


def _batch(
    run: Run, stream: Any, size: int, start: str | None, state: Any, *, train: bool = True, strong: bool = False
) -> dict:
    transform = stream.transform(run.model, train=train and start is None, **({"strong": True} if strong else {}))
    if hasattr(transform, "of_one_width"):
        transform = transform.of_one_width()
    found = data.eval_batches(stream.sources["train"], transform, 1, threads=1, prefetch=1)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), next(found))
    found.close()
    if start is not None:
        given = jax.eval_shape(_prefix(run, stream, start), state.variables(), batch)
        batch = {**batch, "inputs": given["features"]}
    placed = sharding.of_batch(run.mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), batch)


def variables(run: Run) -> Mapping[str, Any]:
    """Returns the shapes of the variables that a run begins with, with their shardings."""
    shapes = jax.eval_shape(lambda: assemble.initial_variables(run))
    placed = sharding.of_params(shapes, run.mesh, run.config.sharding)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placed)
