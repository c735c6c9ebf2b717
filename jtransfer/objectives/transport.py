"""The term that brings domains together by optimal transport of their examples."""

from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.core.fields import Count, NotNegative, Positive
from jtransfer.objectives.seen import domains
from jtransfer.objectives.sinkhorn import squared_distances, transport
from jtransfer.objectives.term import TARGET, Context, Term


def sinkhorn(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    epsilon: Positive = 0.05,
    iterations: Count = 50,
    debiased: bool = True,
    labels: NotNegative = 0.0,
) -> Term:
    """The cost of moving the source's examples onto the target's by optimal transport, with the squared distance of a
    stage's outputs, by their number, as the cost (`sinkhorn.transport`).

    Args:
      context: of the run.
      source, target, at: as of `mmd`.
      epsilon: the entropic regularisation, as a part of the mean cost.
      iterations: of Sinkhorn's algorithm.
      debiased: whether half of each domain's cost to itself is taken off, so that equal domains are at no distance: the
        Sinkhorn divergence (Genevay et al. 2018, arXiv:1706.00292).
      labels: the weight, in the cost, of the cross-entropy of the target's prediction with the source's label: joint
        distribution optimal transport, DeepJDOT (Damodaran et al. 2018, arXiv:1803.10081), which is not debiased.

    Raises:
      InputError: a field is out of range.
    """
    seen = domains(context, "sinkhorn", source, target, at)
    if labels and debiased:
        raise InputError("objective: 'sinkhorn' with labels is not debiased; set debiased=False")

    def cost(x, y):
        return squared_distances(x, y) / x.shape[1]

    def loss(view):
        points, masks = seen.features(view)
        shares = [_shares(mask) for mask in masks]
        across = cost(*points)
        if labels:
            across += labels * _disagreement(view.batch[source]["target"], seen.logits(view)[1])
        scale = epsilon * jax.lax.stop_gradient(shares[0] @ jnp.where(_real(masks), across, 0) @ shares[1])
        how = {"epsilon": jnp.maximum(scale, 1e-12), "iterations": iterations}
        value = transport(across, *shares, **how)
        if debiased:
            own = (transport(cost(x, x), share, share, **how) for x, share in zip(points, shares, strict=True))
            value -= 0.5 * sum(own)
        return value, {}

    return Term(loss, seen.needs)


def _shares(mask: Any) -> Any:
    real = mask.astype(jnp.float32)
    return real / jnp.maximum(real.sum(), 1)


def _real(masks: Any) -> Any:
    return masks[0][:, None] & masks[1]


def _disagreement(labels: Any, logits: Any) -> Any:
    """[n, m]: the cross-entropy of each prediction with each label."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    if jnp.issubdtype(labels.dtype, jnp.integer) and labels.ndim == 1:
        return -log_p.T[labels]
    if labels.ndim != 2 or labels.shape[-1] != log_p.shape[-1]:
        raise InputError("objective: 'sinkhorn' with labels needs classes, of which each example has one; set labels=0")
    return -jnp.matmul(labels.astype(jnp.float32), log_p.T)
