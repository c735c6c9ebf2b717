"""Traces terms with teachers for one example of each stream, so that what can't be compared is found beforehand."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer import data, objectives
from jtransfer.models import forward
from jtransfer.objectives import taught
from jtransfer.objectives.students import EMA, INITIAL
from jtransfer.runs import assemble
from jtransfer.runs.teachers import stages_of

Run = Any  # build.Run


def check(run: Run) -> None:
    """Traces the loss of each term that has teachers.

    Raises:
      InputError: what the student and a teacher return can't be compared.
    """
    objective = assemble.objective(run)
    terms = {name: term for name, term in objective.terms.items() if term.teachers}
    first = {
        name: next(iter(data.eval_batches(stream.sources["train"], stream.transform(run.model, train=False), 1)))
        for name, stream in run.streams.items()
    }
    theirs = {
        (one.teacher, one.stream): run.teachers[one.teacher].outputs(
            one.stream, stages_of([w for w in objective.teachers if w[:2] == one[:2]])
        )
        for one in objective.teachers
        if one.teacher not in (EMA, INITIAL)
    }

    def losses(variables: Mapping[str, Any], first: Mapping[str, Any], theirs: Mapping[Any, Any]) -> list[Any]:
        outputs = {name: _outputs(run, name, variables, part["inputs"]) for name, part in first.items()}
        batches = {name: _batch(run, name, part["label"], outputs[name], theirs) for name, part in first.items()}
        view = objectives.View(outputs, batches, variables, None, jax.random.key(0), jnp.int32(0), lambda *_: None)
        own = variables.get("aux", {})
        return [term.loss(view._replace(own=own.get(name))) for name, term in terms.items()]

    jax.eval_shape(losses, jax.eval_shape(lambda: _variables(run)), first, theirs)


def _variables(run: Run) -> dict:
    return assemble.with_auxiliary(run, assemble.initial_variables(run))


def _outputs(run: Run, name: str, variables: Mapping[str, Any], inputs: Any) -> dict[str, Any]:
    x, head = run.streams[name].preprocess(run.model, train=False)(inputs), assemble.heads(run).get(name)
    wanted = tuple(dict.fromkeys((*assemble.objective(run).features, forward.OUTPUT)))
    if head is None:
        return forward.apply(run.model, variables, x, outputs=wanted)[0]
    trunk = forward.stages(run.model)[-2]
    found, _ = forward.apply(run.model, variables, x, outputs=tuple(dict.fromkeys((*wanted, trunk))))
    return {**found, forward.OUTPUT: head.apply(variables, found[trunk])}


def _batch(run: Run, name: str, label: Any, outputs: Any, theirs: Mapping[Any, Any]) -> dict[str, Any]:
    told: dict[str, dict[str, Any]] = {}
    for one in (one for one in assemble.objective(run).teachers if one.stream == name):
        source, labels = theirs.get((one.teacher, name), (outputs, label))
        if one.output == taught.CHUNKS:
            found = {"values": jnp.zeros(label.shape), "chunk": jnp.zeros(label.shape, jnp.int32)}
        else:
            found = taught.condensed(source, labels, one, by_token=run.streams[name].task.by_token)
        told.setdefault(one.teacher, {})[one.key] = found
    return {"label": label, "mask": jnp.ones(len(label), bool), taught.KEY: told}
