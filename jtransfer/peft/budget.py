"""The ranks of AdaLoRA: which triples of a column of `a`, a number of `e` and a row of `b` the budget is spent on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import fields

FIELDS = ("target_rank", "begin", "end", "every", "beta1", "beta2")  # that all adapters of a run must have alike


class BudgetState(NamedTuple):
    """The state of the transform.

    Attributes:
      inner: that of the optimizer.
      own: under the key "optimizer", as what is carried over the border of two phases: `count`, int32 []; like the
        adapters, `importance` and `variation`, the running means of what a parameter matters and how that varies; and
        `kept`, like each `e`, bools, the choice that was made last.
    """

    inner: Any
    own: dict[str, Any]


def check(*, rank: int, target_rank: int, begin: int, end: int, every: int, beta1: float, beta2: float) -> None:
    """Raises an InputError for fields of AdaLoRA that can't be."""
    fields.whole("target_rank", target_rank, 1, rank)
    fields.whole("every", every)
    for name, steps in (("begin", begin), ("end", end)):
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
            raise InputError(f"adapters: {name}={steps!r} must be a number of steps")
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        fields.positive(name, beta)
        fields.rate(name, beta)


def wrap(tx: optax.GradientTransformation, rows: Sequence[Mapping[str, Any]], total_steps: int) -> Any:
    """Returns an optimizer after whose steps AdaLoRA's budget is spent anew.

    Args:
      tx: the optimizer.
      rows: the fields of each row of the method.
      total_steps: after which the budget is that of the target.

    Raises:
      InputError: rows differ in what all adapters share, or there are too few steps.
    """
    first = {name: rows[0][name] for name in FIELDS}
    for row in rows:
        if differing := [name for name in FIELDS if row[name] != first[name]]:
            raise InputError(f"adapters: all rows of 'adalora' share one budget; give them the same {differing[0]}")
    if first["begin"] + first["end"] >= total_steps:
        steps = f"begin={first['begin']} and end={first['end']}"
        raise InputError(
            f"adapters: 'adalora' with {steps} needs more than the {total_steps} steps that train adapters"
        )
    return spend(tx, total_steps=total_steps, **first)


def spend(
    tx: optax.GradientTransformation,
    *,
    total_steps: int,
    target_rank: int = 8,
    begin: int = 0,
    end: int = 0,
    every: int = 1,
    beta1: float = 0.85,
    beta2: float = 0.85,
) -> optax.GradientTransformation:
    """Returns an optimizer after whose steps the budget of all adapters of AdaLoRA in the tree is spent anew.

    A triple matters as much as its number of `e` and the means of its column of `a` and row of `b`, of which each
    parameter matters by the running mean of |parameter · gradient|, times that of how this varies. Up to step `begin`,
    all triples stay; then their number falls as a cubic to that of the target, which it reaches `end` steps before the
    last one. All is as in Hugging Face's PEFT, with steps that count from 1.

    Args:
      tx: the optimizer, over any tree of parameters.
      total_steps: of the training.
      target_rank, begin, end, every, beta1, beta2: as of the method.
    """

    def init(params: Any) -> BudgetState:
        zeros = {path: jnp.zeros(leaf.shape, jnp.float32) for path, leaf in _leaves(params).items()}
        kept = {path: jnp.ones(leaf.shape, bool) for path, leaf in zeros.items() if path.endswith("/e")}
        own = {"importance": zeros, "variation": zeros, "kept": kept}
        count = jnp.zeros((), jnp.int32)
        return BudgetState(tx.init(params), {"optimizer": {"count": count, **_nested(own)}})

    def update(updates: Any, state: Any, params: Any = None, **more: Any) -> tuple[Any, BudgetState]:
        grads = updates
        updates, inner = optax.with_extra_args_support(tx).update(grads, state.inner, params, **more)
        count = state.own["optimizer"]["count"] + 1
        kept, *means = (trees.flatten(state.own["optimizer"][name]) for name in ("kept", "importance", "variation"))
        if not kept:
            return updates, BudgetState(inner, state.own)
        last = total_steps - end
        found = _leaves(optax.apply_updates(params, updates))
        means = _choose(count < last, _means(found, _leaves(grads), means, beta1, beta2), means)
        size = sum(e.size for e in kept.values())
        target = target_rank * sum(e.size // e.shape[-1] for e in kept.values())
        part = jnp.clip(1 - (count - begin) / (last - begin), 0.0, 1.0)
        left = jnp.floor((size - target) * part**3 + target + 1e-4).astype(jnp.int32)
        anew = ((count > begin) & (count % every == 0) & (count < last)) | (count == last)
        kept = _choose(anew, _most(_scores(kept, *means), size - left), kept)
        masks = _choose(anew | (count > last), kept, jax.tree.map(jnp.ones_like, kept))
        own = {"importance": means[0], "variation": means[1], "kept": kept}
        state = BudgetState(inner, {"optimizer": {"count": count, **_nested(own)}})
        return _masked(updates, _leaves(params), masks), state

    return optax.GradientTransformationExtraArgs(init, update)


def _nested(own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: trees.unflatten(flat) for name, flat in own.items()}


def _leaves(tree: Any) -> dict[str, jax.Array]:
    """The trained leaves of AdaLoRA's adapters by path."""
    found = trees.flatten(tree)
    return {
        path: leaf for path, leaf in found.items() if any(key.partition(".")[0] == "adalora" for key in path.split("/"))
    }


def _choose(which: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)


def _means(params: Any, grads: Any, means: list, beta1: float, beta2: float) -> list[dict[str, jax.Array]]:
    importance, variation = dict(means[0]), dict(means[1])
    for path, leaf in params.items():
        now = jnp.abs(leaf * grads[path]).astype(jnp.float32)
        importance[path] = beta1 * importance[path] + (1 - beta1) * now
        variation[path] = beta2 * variation[path] + (1 - beta2) * jnp.abs(now - importance[path])
    return [importance, variation]


def _scores(kept: Mapping[str, jax.Array], importance: Any, variation: Any) -> dict[str, jax.Array]:
    """What each triple matters, in the shape of `e`."""

    def of(path: str, mean: Callable[[jax.Array], jax.Array]) -> jax.Array:
        return mean(importance[path] * variation[path])

    scores = {}
    for path, e in kept.items():
        more = e.ndim - 1  # leading axes of a scan over layers
        stem = path.removesuffix("e")
        a = of(stem + "a", lambda x, more=more: jnp.mean(x, axis=tuple(range(more, x.ndim - 1))))
        b = of(stem + "b", lambda x, more=more: jnp.mean(x, axis=tuple(range(more + 1, x.ndim))))
        scores[path] = of(path, lambda x: x) + a + b
    return scores


def _most(scores: Mapping[str, jax.Array], gone: jax.Array) -> dict[str, jax.Array]:
    """Bools: the scores that are greater than as many of the smallest."""
    order = jnp.sort(jnp.concatenate([score.ravel() for score in scores.values()]))
    threshold = jnp.where(gone > 0, order[jnp.maximum(gone, 1) - 1], -jnp.inf)
    return {path: score > threshold for path, score in scores.items()}


def _masked(updates: Any, params: Mapping[str, jax.Array], masks: Mapping[str, jax.Array]) -> Any:
    flat = trees.flatten(updates)
    for path, mask in masks.items():
        flat[path] = jnp.where(mask, flat[path], -params[path])
    return trees.unflatten(flat)
