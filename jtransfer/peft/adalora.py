"""AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): y + scale · x·a·diag(e)·b, whose ranks share one budget."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jtransfer.objectives import Context, Term, View
from jtransfer.peft import budget, factors, features, fields, lora, slots, stacking
from jtransfer.peft.method import FIXED, Method, Site, linear

NAME = "adalora"


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 12,
    alpha: float | None = None,
    dropout: float = 0.0,
    target_rank: int = 8,
    begin: int = 0,
    end: int = 0,
    every: int = 1,
    beta1: float = 0.85,
    beta2: float = 0.85,
) -> dict[str, Any]:
    """The adapter of one layer: `a` [*inputs, rank], `e` [rank] and `b` [rank, *outputs], as in Hugging Face's PEFT.

    All adapters of a run have `target_rank` on average in the end: of all their triples of a column of `a`, a number of
    `e` and a row of `b`, those stay that mattered most for the loss; the others' `e` is zero. The term
    "adapter_orthogonality" of the objective keeps columns and rows apart.

    Args:
      key: a random key.
      site: the layer.
      params: of the layer.
      rank: with which it begins.
      alpha: what is added is scaled by alpha / rank; None means alpha = rank.
      dropout: the rate at which the input of `a` is dropped in training.
      target_rank: the rank that is left on average.
      begin: the number of steps before the first triples go.
      end: the number of steps at the end in which those that are left are trained.
      every: the number of steps after which triples are chosen anew.
      beta1: the decay of the mean of what a parameter matters.
      beta2: the decay of the mean of how much that varies.

    Raises:
      InputError: there is no such field.
    """
    fields.rank(rank, site.inputs, site.outputs)
    fields.positive("alpha", rank if alpha is None else alpha)
    fields.rate("dropout", dropout)
    budget.check(rank=rank, target_rank=target_rank, begin=begin, end=end, every=every, beta1=beta1, beta2=beta2)
    first, second = jax.random.split(key)
    scale = (rank if alpha is None else alpha) / (rank + 1e-5)
    return {
        "a": 0.02 * jax.random.normal(first, (*site.inputs, rank)),
        "b": 0.02 * jax.random.normal(second, (rank, *site.outputs)),
        "e": jnp.zeros(rank),
        FIXED: {"scale": jnp.float32(scale)} | ({"dropout": jnp.float32(dropout)} if dropout else {}),
    }


def orthogonality(context: Context) -> Term:
    """How far the factors of AdaLoRA's adapters are from orthogonal ones: the mean of ‖aᵀa − 1‖ and ‖b·bᵀ − 1‖.

    Its weight is 0.5 in Hugging Face's PEFT.
    """
    del context

    def loss(view: View) -> tuple[jax.Array, dict]:
        found = [
            jnp.mean(stacking.of_each(_distances, own)(own))
            for _, slot, own in slots.split(view.variables.get("adapters", {}))
            if slot.partition(".")[0] == NAME
        ]
        return (jnp.mean(jnp.stack(found)) if found else jnp.zeros(())), {}

    return Term(loss)


def _distances(own: Mapping[str, Any]) -> jax.Array:
    rank = len(own["b"])
    return jnp.stack([_distance(own["a"].reshape(-1, rank).T), _distance(own["b"].reshape(rank, -1))])


def _distance(rows: jax.Array) -> jax.Array:
    return optax.safe_norm(rows @ rows.T - jnp.eye(len(rows)), 0.0)


METHOD = Method(
    init,
    lora.apply,
    linear,
    lora.merge,
    lora.unmerge,
    delta=factors.change,
    scale=features.scaled,
    pad=lora.padded,
    optimizer=budget.wrap,
)
