"""LoKr (Yeh et al. 2023, arXiv:2309.14859): the change is the Kronecker product of two small matrices."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.peft import features, fields, layer, torch_form
from jtransfer.peft.method import FIXED, Method, Site


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
    fields.whole("rank", rank, 1, 1 << 16)
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
    fixed = {"scale": scale, **_said(rank, decompose_factor, decompose_both)}
    return {**first, **second, FIXED: jax.tree.map(jnp.asarray, fixed)}


def factorization(size: int, factor: int = -1) -> tuple[int, int]:
    """Returns two numbers whose product is a size.

    Args:
      size: the product.
      factor: the first of them, if it divides the size; else the first one is the smaller, and the largest that is no
        larger than this. -1 means that both are as near as they can be.
    """
    if factor > 0 and size % factor == 0:
        return factor, size // factor
    most = min(math.isqrt(size), factor if factor > 0 else size)
    small = next(i for i in range(most, 0, -1) if size % i == 0)
    return small, size // small


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through both matrices, never their product."""
    y, (w1, w2) = call(x, *args, **kwargs), _matrices(own)
    if layer.groups(module) > 1:
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


PEFT = "LOKR"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensors of the module, and settings, of which PEFT makes arrays of the same shapes."""
    del widest
    _check(site, "w2" in own)
    arrays = {name: np.asarray(leaf, np.float32) for name, leaf in own.items() if name != FIXED}
    tensors = {f"lokr_{name}": leaf.T for name, leaf in arrays.items() if leaf.ndim == 2 and name in ("w1", "w2")}
    if "w2" in arrays and arrays["w2"].ndim > 2:
        tensors["lokr_w2"] = np.moveaxis(arrays["w2"], (-1, -2), (0, 1))
    for i in (1, 2):
        if f"w{i}_a" in arrays:
            inner = arrays[f"w{i}_a"]
            inner = np.moveaxis(inner, -2, 0).reshape(-1, inner.shape[-1])
            tensors |= {f"lokr_w{i}_a": arrays[f"w{i}_b"].T, f"lokr_w{i}_b": inner.T}
    fixed, names = own[FIXED], ("rank", "decompose_factor", "decompose_both")
    rank, factor, both = (int(fixed[name]) for name in names)
    settings = {"decompose_factor": factor, "decompose_both": bool(both), "use_effective_conv2d": False}
    return tensors, {"r": rank, "alpha": float(fixed["scale"]) * rank, **settings}


def _check(site: Site, is_whole: bool) -> None:
    torch_form.check(site, "LoKr", "dense", "conv1", "conv2")
    if is_whole and site.kind == "conv" and site.contracted == 2:
        raise InputError(
            f"{site.path}: PEFT's LoKr of a convolution over one axis is no Kronecker product unless w2 has factors"
        )


def _said(rank: int, decompose_factor: int, decompose_both: bool) -> dict[str, np.ndarray]:
    """What an adapter keeps of its fields, of which PEFT makes arrays of the same shapes."""
    said = {"rank": rank, "decompose_factor": decompose_factor, "decompose_both": decompose_both}
    return {name: np.asarray(value, np.float32) for name, value in said.items()}


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensors of a module are."""
    _check(site, "lokr_w2" in tensors or "lokr_t2" in tensors)
    window, rank = (site.inputs[:-1] if site.kind == "conv" else ()), settings["r"]
    said = _said(rank, settings["decompose_factor"], settings["decompose_both"])
    own: dict[str, Any] = {FIXED: {"scale": torch_form.scale(settings), **said}}
    if "lokr_w1" in tensors:
        own["w1"] = torch_form.take(tensors, "lokr_w1", None, None).T
    else:
        own["w1_a"] = torch_form.take(tensors, "lokr_w1_b", rank, None).T
        own["w1_b"] = torch_form.take(tensors, "lokr_w1_a", None, rank).T
    m = len(own["w1"] if "w1" in own else own["w1_a"])
    n = math.prod(site.inputs) // math.prod(window) // m
    if "lokr_w2" in tensors:
        own["w2"] = np.moveaxis(torch_form.take(tensors, "lokr_w2", None, n, *window), (0, 1), (-1, -2))
    elif "lokr_t2" in tensors:
        own["w2_a"] = torch_form.core_times(tensors, "lokr_t2", "lokr_w2_b", site, rank, n)
        own["w2_b"] = torch_form.take(tensors, "lokr_w2_a", rank, None)
    else:
        inner = torch_form.take(tensors, "lokr_w2_b", rank, n * math.prod(window))
        own["w2_a"] = np.moveaxis(inner.T.reshape(n, *window, rank), 0, -2)
        own["w2_b"] = torch_form.take(tensors, "lokr_w2_a", None, rank).T
    w1, w2 = jax.eval_shape(_matrices, own)
    if (m * n * math.prod(window), w1.shape[1] * w2.shape[-1]) != torch_form.sizes(site):
        raise InputError(f"lokr_w1 and lokr_w2 are factors of other sizes than the layer's {torch_form.sizes(site)}")
    return own


METHOD = Method(init, apply, features.ordered, *features.added(delta), delta=delta, scale=features.scaled)
