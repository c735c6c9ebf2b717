"""The gradient of a batch that is too large for one pass of the model, part by part: the same as in one pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.objectives.sums import add_up, weights, with_weights
from jtransfer.objectives.term import View
from jtransfer.objectives.terms import Objective

Keys = tuple[jax.Array, jax.Array]  # of dropout, and of the view
Look = Callable[..., tuple[View, Any]]
"""`(trained, model_state, batches, keys, outputs=None) -> (view, model_state)`, of a batch or of a part of it. Where
outputs are given, the model is not run."""


def gradients(
    look: Look,
    objective: Objective,
    trained: Any,
    model_state: Any,
    batches: Mapping[str, Any],
    keys: Keys,
    step: jax.Array,
    number: int,
) -> tuple[dict[str, jax.Array], Any, Any]:
    """Returns the metrics, the model's state and the gradient of a batch that is cut into parts.

    Of terms that add up over examples (`Mean`), the weights of the whole batch are summed first, which costs no pass of
    the model; then each part's share of the mean and of its gradient is computed. All other terms are computed of the
    whole batch, from the model's outputs in one more pass over the parts, and their slopes by these outputs are handed
    down to the parts (Gao et al. 2021, arXiv:2101.06983).

    Args:
      look: what terms see of a batch.
      objective: what is minimised.
      trained: what the gradient is taken over.
      model_state: the variables that a pass changes; a part begins with those of the part before.
      batches: stream → the batch.
      keys: of the batch; each part draws its own from them.
      step: that of the view, which the weights of the terms follow.
      number: of parts; the number of examples of each stream is divisible by it.
    """
    parts = _cut(batches, number), tuple(jax.random.split(key, number) for key in keys)
    first = jax.tree.map(lambda x: x[0], parts)

    shapes = jax.eval_shape(lambda: objective.found(look(trained, model_state, *first)[0], tuple(objective.terms)))
    summed = [name for name in shapes if add_up(shapes[name])]
    whole = [name for name in shapes if name not in summed]

    def survey(wanted: Sequence[int]) -> tuple[Any, dict[int, jax.Array]]:
        """The weights, and some of the leaves of the outputs, of each part."""

        def of_part(state: Any, part: Any) -> tuple[Any, Any]:
            view, changed = look(trained, state, *part)
            leaves = jax.tree.leaves(view.outputs)
            return changed if wanted else state, (
                weights(objective.found(view, summed)),
                {i: leaves[i] for i in wanted},
            )

        return jax.lax.scan(of_part, model_state, parts)[1]

    found, slopes, grads = {}, {}, jax.tree.map(jnp.zeros_like, trained)
    if not whole:
        part_weights, _ = survey(())
    else:
        outputs = jax.eval_shape(lambda: look(trained, model_state, batches, keys)[0].outputs)

        def loss_of_whole(trained: Any, leaves: Mapping[int, jax.Array]) -> tuple[jax.Array, Any]:
            view, _ = look(trained, model_state, batches, keys, _joined(leaves, outputs, batches))
            found = objective.found(view, whole)
            return objective.weighted(found, step)[0], found

        every = jax.eval_shape(lambda: survey(range(len(jax.tree.leaves(outputs))))[1])
        wanted = _looked_at(lambda leaves: loss_of_whole(trained, leaves), every)
        part_weights, leaves = survey(wanted)
        still = {i: x for i, x in leaves.items() if not jnp.issubdtype(x.dtype, jnp.inexact)}
        moving = {i: x for i, x in leaves.items() if i not in still}
        slopes_of = jax.grad(lambda trained, moving: loss_of_whole(trained, moving | still), (0, 1), has_aux=True)
        (grads, slopes), found = slopes_of(trained, moving)
    whole_weights = jax.tree.map(lambda x: x.sum(0), part_weights)

    def share(trained: Any, state: Any, part: Any, slopes: Mapping[int, jax.Array]) -> tuple[jax.Array, Any]:
        view, changed = look(trained, state, *part)
        found, leaves = with_weights(objective.found(view, summed), whole_weights), jax.tree.leaves(view.outputs)
        handed_down = [jnp.sum(leaves[i] * slope, dtype=jnp.float32) for i, slope in slopes.items()]
        return objective.weighted(found, step)[0] + sum(handed_down), (found, changed)

    def add(carry: tuple[Any, Any], part: tuple[Any, Any]) -> tuple[tuple[Any, Any], Any]:
        state, grads = carry
        more, (found, state) = jax.grad(share, has_aux=True)(trained, state, *part)
        return (state, jax.tree.map(jnp.add, grads, more)), found

    (model_state, grads), shares = jax.lax.scan(add, (model_state, grads), (parts, slopes))
    found |= with_weights(jax.tree.map(lambda x: x.sum(0), shares), whole_weights)
    return objective.weighted(found, step)[1], model_state, grads


def _cut(tree: Any, number: int) -> Any:
    """Each array [B, …] as parts [number, B / number, …], in which the examples of every device stay where they are."""
    return jax.tree.map(lambda x: x.reshape(-1, number, *x.shape[1:]).swapaxes(0, 1), tree)


def _joined(leaves: Mapping[int, jax.Array], outputs: Any, batches: Mapping[str, Any]) -> Any:
    """The outputs for a batch from those for its parts.

    Args:
      leaves: by their number, arrays [number of parts, …]; the others are filled with zeros.
      outputs: stream → the shapes of all outputs for the batch.
      batches: stream → the batch.
    """
    shapes, structure = jax.tree.flatten(outputs)
    sizes = [len(batches[name]["mask"]) for name in sorted(outputs) for _ in jax.tree.leaves(outputs[name])]
    joined = [
        _rows(leaves[i], shape.shape, size) if i in leaves else jnp.zeros(shape.shape, shape.dtype)
        for i, (shape, size) in enumerate(zip(shapes, sizes, strict=True))
    ]
    return jax.tree.unflatten(structure, joined)


def _rows(x: jax.Array, shape: tuple[int, ...], examples: int) -> jax.Array:
    """[number, rows, …] → the rows of all examples in their order; what has no rows is the same for all parts."""
    if x.shape[1:] == shape:
        return x[0]
    number = x.shape[0]
    if x.ndim < 2 or number * x.shape[1] != shape[0] or shape[0] % examples:
        raise InputError(
            f"optim.accumulate={number}: a term looks at an output of the shape {list(shape)}, which has no rows for "
            f"{examples} examples; set it to 1"
        )
    return x.reshape(number, examples // number, -1, *x.shape[2:]).swapaxes(0, 1).reshape(shape)


def _looked_at(function: Callable[[dict[int, Any]], Any], leaves: Mapping[int, Any]) -> tuple[int, ...]:
    """The numbers of the leaves that the result of a function depends on."""
    jaxpr = jax.make_jaxpr(function)(dict(leaves)).jaxpr
    used = {id(x) for x in (*(x for eqn in jaxpr.eqns for x in eqn.invars), *jaxpr.outvars)}
    return tuple(i for i, x in zip(sorted(leaves), jaxpr.invars, strict=True) if id(x) in used)
