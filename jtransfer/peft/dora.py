"""Weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv:2402.09353): magnitude · (W + ΔW) / ‖W + ΔW‖.

The norm is that of the kernel of each output, and counts as a constant for the gradient.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.peft import factors, layer, lora
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
    """The adapter of one layer: that of LoRA, with the same arguments, and `magnitude` [*outputs].

    Args:
      key, site, params, rank, alpha, rslora, dropout, start: as of LoRA.
    """
    own = lora.init(key, site, params, rank=rank, alpha=alpha, rslora=rslora, dropout=dropout, start=start)
    return {**own, "magnitude": _norm(jnp.asarray(params[site.leaf], jnp.float32), len(site.outputs))}


def _norm(kernel: jax.Array, outputs: int) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(kernel), axis=range(kernel.ndim - outputs)))


def _gain(own: Own, kernel: jax.Array) -> jax.Array:
    """What each output is multiplied by. An output without any kernel yet is as large as its change, as LoRA's."""
    change = jax.lax.stop_gradient(factors.change(own))
    norm = jax.lax.stop_gradient(_norm(kernel.astype(jnp.float32) + change, own["magnitude"].ndim))
    return jnp.where(norm == 0, 1, own["magnitude"] / jnp.where(norm == 0, 1, norm))


def apply(module: Any, own: Own, call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, with another norm and direction of its kernel."""
    y = call(x, *args, **kwargs)
    kernel = module.get_variable("params", layer.kernel_of(module.variables["params"]))
    dropped = layer.dropped(module, x, own[FIXED].get("dropout"))
    if dropped is x and len(module.variables.get("adapters", {})) == 1:
        bias = module.get_variable("params", "bias") if module.has_variable("params", "bias") else None
        plain = y if bias is None else y - bias.astype(y.dtype)
    else:  # what other adapters add to y is theirs, and the input of a layer that is dropped is so here
        plain = layer.run(module, kernel, dropped, *args, **kwargs)
    gain = _gain(own, kernel)
    low = factors.beside(module, own, dropped, *args, **kwargs)
    return y + ((gain - 1) * plain + gain * low).astype(y.dtype)


def merge(own: Own, params: Own) -> dict[str, Any]:
    """The parameters of the layer with another kernel."""
    leaf = layer.kernel_of(params)
    changed = lora.merge(own, params)[leaf]
    return {**params, leaf: _gain(own, params[leaf]) * changed}


METHOD = Method(init, apply, linear, merge, pad=lora.padded, of_base=True)
