"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): y + scale · x·a·b, beside a kernel that stays as it is."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.peft import layer
from jtransfer.peft.method import FIXED, Method, Site, linear


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 8,
    alpha: float | None = None,
    rslora: bool = False,
    dropout: float = 0.0,
) -> dict[str, Any]:
    """The adapter of one layer: `a` [*inputs, rank], drawn as in Hugging Face's PEFT, and `b` [rank, *outputs], zeros.

    Args:
      key: a random key.
      site: the layer.
      params: of the layer.
      rank: of the change.
      alpha: what is added is scaled by alpha / rank; None means alpha = rank.
      rslora: scale by alpha / √rank instead (Kalajdzievski 2023, arXiv:2312.03732).
      dropout: the rate at which the input of `a` is dropped in training.
    """
    if rank < 1:
        raise InputError(f"adapters: rank={rank} must be at least 1")
    if not 0 <= dropout < 1:
        raise InputError(f"adapters: dropout={dropout} must be at least 0 and below 1")
    scale = (rank if alpha is None else alpha) / (math.sqrt(rank) if rslora else rank)
    a, b = _factors(key, site, rank)
    fixed = {"scale": jnp.float32(scale)} | ({"dropout": jnp.float32(dropout)} if dropout else {})
    return {"a": a, "b": b, FIXED: fixed}


def _factors(key: jax.Array, site: Site, rank: int) -> tuple[jax.Array, jax.Array]:
    if site.kind == "embed":
        return jnp.zeros((*site.inputs, rank)), jax.random.normal(key, (rank, *site.outputs))
    bound = 1 / math.sqrt(math.prod(site.inputs))
    return jax.random.uniform(key, (*site.inputs, rank), jnp.float32, -bound, bound), jnp.zeros((rank, *site.outputs))


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through both factors."""
    y, fixed = call(x, *args, **kwargs), own[FIXED]
    if not jnp.issubdtype(x.dtype, jnp.integer):
        x = layer.dropped(module, x, fixed.get("dropout"))
    low = layer.run(module, own["a"], x, *args, **kwargs)
    return y + jnp.tensordot(low, own["b"].astype(low.dtype), 1) * fixed["scale"].astype(y.dtype)


def delta(own: Mapping[str, Any]) -> jax.Array:
    """What the adapter adds to the kernel."""
    return own[FIXED]["scale"] * jnp.tensordot(own["a"], own["b"], 1)


def merge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the layer with the change of its kernel added."""
    leaf = _leaf(params)
    return {**params, leaf: params[leaf] + delta(own)}


def unmerge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `merge`."""
    leaf = _leaf(params)
    return {**params, leaf: params[leaf] - delta(own)}


def _leaf(params: Mapping[str, Any]) -> str:
    return "embedding" if "embedding" in params else "kernel"


METHOD = Method(init, apply, linear, merge, unmerge)
