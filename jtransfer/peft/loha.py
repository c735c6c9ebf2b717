"""LoHa (Hyeon-Woo et al. 2021, arXiv:2108.06098): the change is the product, number by number, of two of low rank."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.peft import features, fields, layer, torch_form
from jtransfer.peft.method import FIXED, Method, Site, linear


def init(
    key: jax.Array, site: Site, params: Mapping[str, Any], *, rank: int = 8, alpha: float | None = None
) -> dict[str, Any]:
    """The adapter of one layer: `a1`, `a2` [*inputs, rank] and `b1`, `b2` [rank, *outputs]; `a2` is zeros.

    Args:
      key: a random key.
      site: the layer.
      params: not needed.
      rank: of both factors; the change has a rank of up to rank².
      alpha: the change is scaled by alpha / rank; None means alpha = rank.
    """
    del params
    fields.whole("rank", rank, 1, 1 << 16)
    scale = fields.scale(alpha, rank)
    key1, key2, key3 = jax.random.split(key, 3)
    ins, outs = (*site.inputs, rank), (rank, *site.outputs)
    return {
        "a1": fields.kaiming(key1, ins, math.prod(site.inputs)),
        "b1": fields.kaiming(key2, outs, rank),
        "a2": jnp.zeros(ins),
        "b2": fields.kaiming(key3, outs, rank),
        FIXED: {"scale": scale},
    }


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through the change: by rank², if that is less than the kernel."""
    y, scale = call(x, *args, **kwargs), own[FIXED]["scale"]
    rank, ins, outs = own["a1"].shape[-1], own["a1"].size, own["b1"].size
    is_small = rank * (ins + outs) < ins // rank * outs // rank
    if features.is_lookup(x):
        low = _pairs(*(layer.run(module, own[name], x, *args, **kwargs) for name in ("a1", "a2")))
    elif is_small and layer.groups(module) == 1:
        low = layer.run(module, _pairs(own["a1"], own["a2"]), x, *args, **kwargs)
    else:
        return y + layer.run(module, delta(own), x, *args, **kwargs).astype(y.dtype)
    b = jax.vmap(_pairs, -1, -1)(own["b1"].reshape(rank, -1), own["b2"].reshape(rank, -1))
    b = b.reshape(rank**2, *own["b1"].shape[1:])
    return y + (jnp.tensordot(low, b.astype(low.dtype), 1) * scale.astype(low.dtype)).astype(y.dtype)


def _pairs(x: jax.Array, y: jax.Array) -> jax.Array:
    """The products of each number of the last axis of `x` with each of `y`."""
    return (x[..., :, None] * y[..., None, :]).reshape(*x.shape[:-1], -1)


def delta(own: Mapping[str, Any], shape: tuple[int, ...] = ()) -> jax.Array:
    """What the adapter adds to the kernel."""
    del shape
    first, second = (jnp.tensordot(own[f"a{i}"], own[f"b{i}"], 1) for i in (1, 2))
    return first * second * own[FIXED]["scale"]


PEFT = "LOHA"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensors of the module, and settings."""
    del widest
    torch_form.check(site, "LoHa", "dense", "conv1", "conv2")
    rank, tensors = own["a1"].shape[-1], {}
    for i in (1, 2):
        tensors[f"hada_w{i}_a"] = np.asarray(own[f"b{i}"], np.float32).reshape(rank, -1).T
        tensors[f"hada_w{i}_b"] = torch_form.rows(own[f"a{i}"], site).T
    alpha = float(own[FIXED]["scale"]) * rank
    return tensors, {"r": rank, "alpha": alpha, "use_effective_conv2d": False}


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensors of a module are."""
    torch_form.check(site, "LoHa", "dense", "conv1", "conv2")
    rank, (inputs, outputs), own = settings["r"], torch_form.sizes(site), {}
    for i in (1, 2):
        if f"hada_t{i}" in tensors:
            b = torch_form.take(tensors, f"hada_w{i}_a", rank, outputs)
            a = torch_form.core_times(tensors, f"hada_t{i}", f"hada_w{i}_b", site, rank, site.shape[-2])
        else:
            b = torch_form.take(tensors, f"hada_w{i}_a", outputs, rank).T
            a = torch_form.unrows(torch_form.take(tensors, f"hada_w{i}_b", rank, inputs).T, site)
        own |= {f"a{i}": a, f"b{i}": b.reshape(rank, *site.outputs)}
    return {**own, FIXED: {"scale": torch_form.scale(settings)}}


METHOD = Method(init, apply, linear, *features.added(delta), delta=delta, scale=features.scaled)
