"""A step on several tasks, which are streams or terms: a gradient each, and one of them all."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.objectives.gradients import Method, Seen
from jtransfer.objectives.term import Metrics, Term, View
from jtransfer.objectives.terms import Objective

STATE = "multitask"  # the collection of what a method keeps
Gradients = Callable[[Objective], tuple[Mapping[str, jax.Array], Any, Any]]


def tasks(objective: Objective) -> dict[str, Objective]:
    """Returns the objective of each task: of every stream that a term has a loss of its own for, and of other terms.

    Raises:
      InputError: there is one task only.
    """
    found: dict[str, Objective] = {}
    several = len(objective.terms) > 1
    for name, term in objective.terms.items():
        for part in term.tasks if len(term.tasks) > 1 else ("",):
            alone = Objective({name: _part(term, part)}, {name: objective.weights[name]}, several)
            found[part if part and part not in objective.terms else name] = alone
    if len(found) < 2:
        raise InputError("multitask needs two tasks or more: streams, or terms of the objective; leave it empty")
    return found


def _part(term: Term, part: str) -> Term:
    def loss(view: View) -> tuple[Any, Metrics]:
        value, metrics = term.loss(view)
        return value[part] if part else value, metrics

    return dataclasses.replace(term, loss=loss)


def together(
    method: Method, objectives: Mapping[str, Objective], gradients: Gradients, own: Any, state: Any, key: jax.Array
) -> tuple[dict[str, jax.Array], Any, Any]:
    """Returns the metrics, the model's state and the one gradient of a step.

    Args:
      method: how the gradients are combined.
      objectives: task → what is minimised.
      gradients: `objective -> (metrics, model state, gradient)` of the batch.
      own: bools like the gradient, whether a parameter is a task's own.
      state: what the method keeps.
      key: a random key of the step.
    """
    found = [gradients(objective) for objective in objectives.values()]
    names = {name for objective in objectives.values() for name in objective.terms}
    metrics: dict[str, jax.Array] = {}
    for more, _, _ in found:
        added = {name: metrics[name] + more[name] for name in ("loss", *names) if name in metrics and name in more}
        metrics |= {**more, **added}
    grads = [grad for _, _, grad in found]
    shared = [trees.partition(grad, own)[1] for grad in grads]
    gram = jnp.stack([jnp.stack([jnp.asarray(optax.tree.vdot(a, b), jnp.float32) for b in shared]) for a in shared])
    losses = jnp.stack([more["loss"] for more, _, _ in found])
    weights, own_weights, kept = method.combine(Seen(gram, losses, state, key))
    metrics |= {f"multitask/{name}": weights[i] for i, name in enumerate(objectives)}

    def added_up(is_own: bool, *leaves: jax.Array) -> jax.Array:
        by = own_weights if is_own else weights
        return sum((by[i].astype(leaf.dtype) * leaf for i, leaf in enumerate(leaves)), jnp.zeros_like(leaves[0]))

    model_state = {**found[0][1], **({STATE: kept} if kept else {})}
    return metrics, model_state, jax.tree.map(added_up, own, *grads)


def of_tasks_alone(trained: Any, *, own_heads: bool, head: str) -> dict:
    """Returns which of the trained variables are not shared by all tasks: auxiliary modules and, where streams have
    heads of their own, the model's head.

    Args:
      trained: the trained variables, by collection.
      own_heads: whether a stream has a head of its own.
      head: the name of the stage that is the head.
    """

    def is_own(path: str, _: Any) -> bool:
        collection, _, rest = path.partition("/")
        return collection == "aux" or (own_heads and rest.startswith(f"{head}/"))

    return trees.map_with_path(is_own, trained)
