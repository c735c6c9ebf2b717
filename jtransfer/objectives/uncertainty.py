"""Weights of tasks that are learnt: homoscedastic uncertainty (Kendall et al. 2018, arXiv:1705.07115)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.objectives.seen import check_stream
from jtransfer.objectives.sums import Mean, is_mean
from jtransfer.objectives.task import task
from jtransfer.objectives.term import Context, Term


def uncertainty(context: Context, *, on: Sequence[str] = ()) -> Term:
    """`Σ_s exp(−v_s) · loss_s + v_s / 2`, in the place of `task`, with a learnt log-variance v_s of each stream.

    Where v_s is learnt out, a stream counts by 1 / (2 · loss_s), so that losses of any size are balanced; the published
    form for squared errors, with ½ before the loss, gives the same weights. The log-variances begin at 0 and lie at
    `aux/uncertainty`; the metrics have the weights, `s/weight`. The losses are those of `task`, each a mean over its
    stream's examples, times the stream's weight.

    Args:
      context: of the run.
      on: the streams whose labels count; by default all.
    """
    for name in on:
        check_stream(context, "uncertainty", name)
    inner = task(context, on=on)

    def loss(view):
        shares, metrics = inner.loss(view)
        sizes = {name: len(view.batch[name]["mask"]) for name in shares}
        whole = sum(sizes.values())
        weighted = {name: _weighted(share, view.own[name], sizes[name] / whole) for name, share in shares.items()}
        weights = {f"{name}/weight": jnp.exp(-view.own[name]) for name in shares}
        return weighted, {**metrics, **{name: jax.lax.stop_gradient(weight) for name, weight in weights.items()}}

    def init(key: jax.Array, outputs: Mapping[str, Any]) -> dict[str, jax.Array]:
        return {name: jnp.zeros(()) for name in inner.tasks}

    return Term(loss, init=init, tasks=inner.tasks)


def _weighted(share: Any, variance: jax.Array, part: float) -> Any:
    """A stream's loss, given times its part of the batch, weighted by its log-variance."""
    if is_mean(share):
        return Mean(jnp.exp(-variance) * share.total / part + variance / 2 * share.weight, share.weight)
    return jnp.exp(-variance) * share / part + variance / 2
