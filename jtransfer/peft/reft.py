"""LoReFT (Wu et al. 2024, arXiv:2404.03592): h + R·(Wᵀh + b − Rᵀh), where the columns of R are orthonormal."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.peft import ahead, bottleneck, fields, layer, stream
from jtransfer.peft.method import FIXED, Method, Site


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 4,
    first: int | None = None,
    last: int | None = None,
    dropout: float = 0.0,
) -> dict[str, Any]:
    """The adapter of what one module returns, which begins as no change: `kernel` W [d, rank] is R, `bias` b zeros.

    R is the orthonormal factor of `rotation` [d, rank], which is trained, so it needs no projection.

    Args:
      key: a random key.
      site: the module, such as a layer of a transformer.
      params: of the module, not used.
      rank: of the change.
      first, last: how many positions are changed at the beginning and at the end of each sequence, padding not counted.
        None for both means all positions; None for one of them means none.
      dropout: the rate in training of what is added, before R.
    """
    features = stream.read(site.y)
    fields.whole("rank", rank, 1, features.shape[-1])
    fields.rate("dropout", dropout)
    places = {name: n for name, n in (("first", first), ("last", last)) if n is not None}
    if places and (len(features.shape) != 3 or min(places.values()) < 0):
        raise InputError(f"adapters: {places} are no numbers of positions of {site.path}, which gives {features.shape}")
    rotation = jax.random.normal(key, (features.shape[-1], rank)) / math.sqrt(features.shape[-1])
    fixed = {name: jnp.float32(n) for name, n in places.items()}
    fixed |= {"dropout": jnp.float32(dropout)} if dropout else {}
    own = {"rotation": rotation, "kernel": orthonormal(rotation), "bias": jnp.zeros(rank)}
    return own | ({FIXED: fixed} if fixed else {})


def orthonormal(a: jax.Array) -> jax.Array:
    """The matrix Q [d, r] with orthonormal columns of a = Q·U, where U is triangular with a positive diagonal."""
    lower = jnp.linalg.cholesky(a.T @ a)
    return jax.scipy.linalg.solve_triangular(lower, a.T, lower=True).T


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module returns, with its features moved within the columns of R."""
    y, fixed = call(*args, **kwargs), own.get(FIXED, {})
    x = stream.read(y)
    rotation = orthonormal(own["rotation"].astype(jnp.float32)).astype(x.dtype)
    kernel, bias = (own[name].astype(x.dtype) for name in ("kernel", "bias"))
    low = layer.dropped(module, x @ kernel + bias - x @ rotation, fixed.get("dropout"))
    change = low @ rotation.T
    if "first" in fixed or "last" in fixed:
        if ahead.caching(module):
            raise InputError("an adapter 'reft' of the first or last positions can't be used token by token")
        change = jnp.where(_places(y, x, fixed)[..., None], change, 0)
    return stream.write(y, x + change)


def _places(y: Any, x: jax.Array, fixed: Mapping[str, Any]) -> jax.Array:
    """Whether each position of a batch is one of those that are changed, bool [b, n]."""
    mask = y.get("mask") if isinstance(y, Mapping) else None
    real = jnp.ones(x.shape[:2], bool) if mask is None else jnp.broadcast_to(mask.any(axis=(1, 2)), x.shape[:2])
    place = jnp.cumsum(real, axis=1)  # of each position among the real ones, from 1
    chosen = place <= fixed.get("first", 0)
    return real & (chosen | (place > place[:, -1:] - fixed.get("last", 0)))


METHOD = Method(init, apply, bottleneck.serves)
