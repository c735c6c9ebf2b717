"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): y + scale · x·a·b, beside a kernel that stays as it is."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.peft import factors, features, fields, layer, starts
from jtransfer.peft.method import FIXED, Method, Site, linear

Own = Mapping[str, Any]


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 8,
    alpha: float | None = None,
    rslora: bool = False,
    dropout: float = 0.0,
    start: str = "uniform",
) -> dict[str, Any]:
    """The adapter of one layer: `a` [*inputs, rank] and `b` [rank, *outputs], whose product is zero.

    Of a convolution with groups whose number divides the rank, `b` is [rank / groups, outputs], and each group has a
    change of its own of that rank. Else the kernel of all groups is changed as one matrix.

    Args:
      key: a random key.
      site: the layer.
      params: of the layer.
      rank: of the change.
      alpha: what is added is scaled by alpha / rank; None means alpha = rank.
      rslora: scale by alpha / √rank instead (Kalajdzievski 2023, arXiv:2312.03732).
      dropout: the rate at which the input of `a` is dropped in training.
      start: "uniform" or "gaussian" draws `a`, and `b` is zero. "pissa" and "olora" begin with factors of the kernel;
        they are kept, and what is added is scale · (a·b − what a·b was), so that the kernel stays as it is.

    Raises:
      InputError: there is no such field.
    """
    fields.rank(rank, site.inputs, site.outputs)
    fields.positive("alpha", rank if alpha is None else alpha)
    fields.rate("dropout", dropout)
    starts.check(start)
    scale = (rank if alpha is None else alpha) / (math.sqrt(rank) if rslora else rank)
    fixed = {"scale": jnp.float32(scale)} | ({"dropout": jnp.float32(dropout)} if dropout else {})
    if start in starts.OF_KERNEL:
        a, b = starts.of_kernel(site, params, rank, start, scale)
        return {"a": a, "b": b, FIXED: {**fixed, "a_start": a, "b_start": b}}
    a, b = starts.draw(key, site, rank, start)
    return {"a": a, "b": b, FIXED: fixed}


def apply(module: Any, own: Own, call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through both factors."""
    y = call(x, *args, **kwargs)
    x = layer.dropped(module, x, own[FIXED].get("dropout"))
    return y + factors.beside(module, own, x, *args, **kwargs).astype(y.dtype)


def merge(own: Own, params: Own) -> dict[str, Any]:
    """The parameters of the layer with the change of its kernel added."""
    return _moved(params, factors.change(own))


def unmerge(own: Own, params: Own) -> dict[str, Any]:
    """The inverse of `merge`."""
    return _moved(params, -factors.change(own))


def _moved(params: Own, change: jax.Array) -> dict[str, Any]:
    leaf = layer.kernel_of(params)
    if params[leaf].shape != change.shape:
        raise InputError(
            f"no kernel of shape {params[leaf].shape} does what an adapter of shape {change.shape} does, as PEFT's of "
            "a convolution with groups; keep it beside the parameters"
        )
    return {**params, leaf: params[leaf] + change}


def padded(own: Own, rank: int) -> dict[str, Any]:
    """The adapter with zeros in its factors up to a rank, and the same change."""
    wide = {"a": -1, "a_start": -1, "e": -1, "b": 0, "b_start": 0}
    groups = own.get("a", own[FIXED].get("a")).shape[-1] // len(own["b"])

    def pad(name: str, leaf: jax.Array) -> jax.Array:
        return _pad(leaf, wide[name], groups if wide[name] else 1, rank if wide[name] else rank // groups)

    def all_of(arrays: Own) -> dict[str, Any]:
        return {name: pad(name, leaf) if name in wide else leaf for name, leaf in arrays.items() if name != FIXED}

    return {**all_of(own), FIXED: all_of(own[FIXED])}


def _pad(leaf: jax.Array, axis: int, groups: int, size: int) -> jax.Array:
    if leaf.shape[axis] > size or size % groups:
        kind = f", and divisible by its {groups} groups" if groups > 1 else ""
        raise InputError(
            f"an adapter of rank {leaf.shape[axis]} can't be padded to {size}: it must be at least that{kind}"
        )
    parts = jnp.moveaxis(leaf, axis, -1)
    parts = parts.reshape(*parts.shape[:-1], groups, -1)
    parts = jnp.pad(parts, [(0, 0)] * (parts.ndim - 1) + [(0, size // groups - parts.shape[-1])])
    return jnp.moveaxis(parts.reshape(*parts.shape[:-2], size), -1, axis)


METHOD = Method(init, apply, linear, merge, unmerge, delta=factors.change, scale=features.scaled, pad=padded)
