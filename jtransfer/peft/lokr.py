"""LoKr (Yeh et al. 2023, arXiv:2309.14859): the change is the Kronecker product of two small matrices."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.peft import features, fields, layer
from jtransfer.peft.method import FIXED, Method, Site, linear


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 8,
    alpha: float | None = None,
    decompose_both: bool = False,
    decompose_factor: int = -1,
) -> dict[str, Any]:
    """The adapter of one layer: of a kernel [m · n, l · k], `w1` [m, l], zeros, and `w2` [*window, n, k].

    A matrix of which rank · 2 is less than its larger side is kept as two factors, `w2_a` [*window, n, rank] and `w2_b`
    [rank, k].

    Args:
      key: a random key.
      site: the layer.
      params: not needed.
      rank: of the factors.
      alpha: the change is scaled by alpha / rank; None means alpha = rank.
      decompose_both: whether `w1` may be kept as factors, too.
      decompose_factor: the sizes m and l, as far as they divide; -1 means near the square roots.
    """
    del params
    fields.whole("rank", rank)
    if decompose_factor != -1:
        fields.whole("decompose_factor", decompose_factor)
    scale = fields.scale(alpha, rank)
    window = site.inputs[:-1] if site.kind == "conv" else ()
    m, n = factorization(math.prod(site.inputs[len(window) :]), decompose_factor)
    l, k = factorization(math.prod(site.outputs), decompose_factor)  # noqa: E741
    keys = jax.random.split(key, 3)
    if decompose_both and 2 * rank < max(m, l):
        first = {"w1_a": fields.kaiming(keys[0], (m, rank), m), "w1_b": jnp.zeros((rank, l))}
    else:
        first = {"w1": jnp.zeros((m, l))}
    fan = math.prod(window) * n
    if 2 * rank < max(n, k):
        second = {
            "w2_a": fields.kaiming(keys[1], (*window, n, rank), fan),
            "w2_b": fields.kaiming(keys[2], (rank, k), rank),
        }
    else:
        second = {"w2": fields.kaiming(keys[1], (*window, n, k), fan)}
    return {**first, **second, FIXED: {"scale": scale}}


def factorization(size: int, factor: int = -1) -> tuple[int, int]:
    """Returns two numbers, the smaller first, whose product is a size.

    Args:
      size: the product.
      factor: one of them, if it divides the size; else the smaller one is the largest that is no larger than this.
        -1 means that both are as near as they can be.
    """
    if factor > 0 and size % factor == 0:
        return factor, size // factor
    most = min(math.isqrt(size), factor if factor > 0 else size)
    small = next(i for i in range(most, 0, -1) if size % i == 0)
    return small, size // small


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through both matrices, never their product."""
    y, (w1, w2) = call(x, *args, **kwargs), _matrices(own)
    if features.groups(module) > 1:
        return y + layer.run(module, delta(own, features.kernel(module).shape), x, *args, **kwargs).astype(y.dtype)
    if features.is_lookup(x):
        change = w1[x // len(w2)][..., :, None] * w2[x % len(w2)][..., None, :]
    elif w2.ndim == 2:
        flat = features.rows(module, x)
        split = flat.reshape(*flat.shape[:-1], len(w1), len(w2))
        change = jnp.einsum("...mn,ml,nk->...lk", split, w1.astype(x.dtype), w2.astype(x.dtype))
    else:
        change = _convolved(module, w1, w2, x, *args, **kwargs)
    return y + (change.reshape(y.shape) * own[FIXED]["scale"]).astype(y.dtype)


def _convolved(module: Any, w1: jax.Array, w2: jax.Array, x: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
    """The window's part `w2` over what `w1` makes of the channels, of which each column is one more example."""
    batch, m = x.shape[: x.ndim + 1 - w2.ndim], len(w1)
    columns = jnp.einsum("...mn,ml->l...n", x.reshape(*x.shape[:-1], m, -1), w1.astype(x.dtype))
    out = layer.run(module, w2, columns.reshape(-1, *columns.shape[1 + len(batch) :]), *args, **kwargs)
    return jnp.moveaxis(out.reshape(w1.shape[1], *batch, *out.shape[1:]), 0, -2)


def delta(own: Mapping[str, Any], shape: tuple[int, ...]) -> jax.Array:
    """What the adapter adds to a kernel of a shape."""
    w1, w2 = _matrices(own)
    return (jnp.einsum("ml,...nk->...mnlk", w1, w2) * own[FIXED]["scale"]).reshape(shape)


def _matrices(own: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    w1 = own["w1"] if "w1" in own else own["w1_a"] @ own["w1_b"]
    return w1, own["w2"] if "w2" in own else jnp.tensordot(own["w2_a"], own["w2_b"], 1)


METHOD = Method(init, apply, linear, *features.added(delta))
