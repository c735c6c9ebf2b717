"""A training step traced before a run begins: what the objective can't be computed of, and whose labels it uses."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.data import mixture
from jtransfer.objectives import TARGET, Term, View
from jtransfer.runs import assemble, batches, feed

Run = Any  # build.Run
LABELS = ("label", "target")  # what a batch has of its labels


def of_step(run: Run) -> frozenset[str]:
    """Returns the streams whose labels the objective depends on. Nothing is computed: shapes are enough.

    Raises:
      InputError: A term can't be computed of the streams' batches, or needs labels that a stream has not.
    """
    if _is_plain(run):
        return frozenset(run.streams)
    used: set[str] = set()
    objective = assemble.objective(run)
    alone = {name: term for name, term in objective.terms.items() if not term.teachers}  # `teacher_check` has the rest
    if not alone:
        return frozenset()
    noted = objective._replace(terms={name: _noted(name, term, used) for name, term in alone.items()})
    state = assemble.abstract(run, 0)
    step = feed.Feed(run, run.phases[0]).train_step(state.variables(), noted)
    for batch in first_shapes(run):
        jax.eval_shape(step, state, batch)
    for name in used:
        _check_labels(run, name)
    return frozenset(used)


def first_shapes(run: Run, number: int = 0) -> Iterator[Any]:
    """Yields the shapes of a first batch of a phase, of all streams or, where they alternate, of each."""
    phase = run.phases[number]
    sizes = batches.sizes(run, phase.optim["accumulate"])
    turns = [0]
    if len(run.streams) > 1 and run.config.mixing.mode == "alternate":
        cycle = mixture.turns(run.shares).cycle
        turns = [cycle.index(name) for name in run.streams if name in cycle]
    for turn in turns:
        iterator = feed.Feed(run, phase).train_batches(turn)
        batch = next(iterator)
        iterator.close()
        if "inputs" in batch:
            yield _shapes(batch, sizes[TARGET])
        else:
            yield {name: _shapes(part, sizes[name]) for name, part in batch.items()}


def _shapes(batch: Any, number: int) -> Any:
    """The shapes of a batch of all processes together."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((number, *x.shape[1:]), x.dtype), batch)


def _is_plain(run: Run) -> bool:
    """Whether nothing is minimised but the task's loss on one stream, of which there is nothing to find out."""
    entries = [entry if isinstance(entry, str) else tuple(entry) for entry in run.config.objective]
    return len(run.streams) == 1 and entries in (["task"], [("task",)], [("task", 1.0)])


def _noted(name: str, term: Term, used: set[str]) -> Term:
    def loss(view: View) -> Any:
        try:
            used.update(_learned_from(lambda view: term.loss(view)[0], view))
            return term.loss(view)
        except InputError as error:
            told = str(error)
            raise InputError(told if told.startswith("objective") else f"objective: {name!r}: {told}") from error
        except LookupError:  # of what is made when training begins, such as what teachers tell
            return jnp.zeros(()), {}
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"objective: {name!r} can't be computed of the streams {', '.join(view.batch)}: {reason:.300}"
            ) from error

    return dataclasses.replace(term, loss=loss)


def _learned_from(value: Callable[[View], Any], view: View) -> list[str]:
    """The streams whose labels a value depends on."""
    labels = {name: {key: batch[key] for key in LABELS if key in batch} for name, batch in view.batch.items()}

    def of_labels(labels: Mapping[str, Any]) -> Any:
        return value(view._replace(batch={name: {**batch, **labels[name]} for name, batch in view.batch.items()}))

    jaxpr = jax.make_jaxpr(of_labels)(labels).jaxpr
    leaves = [name for name in sorted(labels) for _ in jax.tree.leaves(labels[name])]
    return [name for name, x in zip(leaves, jaxpr.invars, strict=True) if _reaches(jaxpr, x)]


def _reaches(jaxpr: Any, start: Any) -> bool:
    """Whether an output depends on an input; a call of a function counts as depending on all that it is given."""
    reached = {id(start)}
    for equation in jaxpr.eqns:
        if any(id(x) in reached for x in equation.invars):
            reached.update(map(id, equation.outvars))
    return any(id(x) in reached for x in jaxpr.outvars)


def _check_labels(run: Run, name: str) -> None:
    stream = run.streams[name]
    if stream.sources["train"].label_kind == "none" and stream.task.label_kinds:
        where = "data" if name == TARGET else f"streams.{name}.data"
        raise InputError(
            f"objective: a term learns from the labels of {name!r}, and {where}.name={stream.data.name!r} has none; "
            'name the streams whose labels count, as ("task", {"on": ("source",)})'
        )
