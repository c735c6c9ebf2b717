"""RandLoRA (Albert et al. 2025, arXiv:2502.00987): a change of full rank, random bases with trained weights.

The bases are never stored: a seed tells them (`random_base`), as of VeRA. An adapter that comes from elsewhere may
bring its own.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.peft import features, fields, layer, matrix, random_base
from jtransfer.peft.method import FIXED, Method, Site

UNIT = math.sqrt(3)  # uniform numbers in (-1, 1) times this have the variance 1


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 32,
    alpha: float | None = None,
    seed: int = 0,
    dropout: float = 0.0,
) -> dict[str, Any]:
    """The adapter of one layer: `lambda` [rank, n], zeros, and `gamma` [n, s], where s is the smaller of the numbers of
    inputs and outputs, and n = s / rank, rounded up, is how many bases fill the rank.

    Args:
      key, params: not needed.
      site: the layer.
      rank: of each base; the larger, the fewer numbers are trained.
      alpha: the change is scaled by alpha / rank; None means alpha = 20 · rank.
      seed: of the bases.
      dropout: the rate at which the input is dropped in training.
    """
    del key, params
    fields.whole("rank", rank)
    fields.seed(seed)
    fields.rate("dropout", dropout)
    small = min(math.prod(site.inputs), math.prod(site.outputs))
    bases = -(-small // rank)
    fixed = {"scale": fields.scale(20.0 * rank if alpha is None else alpha, rank), "seed": jnp.uint32(seed)}
    return {
        "lambda": jnp.zeros((rank, bases)),
        "gamma": jnp.full((bases, small), 1 / max(bases, small)),
        FIXED: {**fixed, **matrix.marks(site), **({"dropout": jnp.float32(dropout)} if dropout else {})},
    }


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through the bases."""
    y, fixed, shape = call(x, *args, **kwargs), own[FIXED], features.kernel(module).shape
    a, b = factors(own, shape)
    kernel = matrix.back(a, fixed, (*matrix.inputs(fixed, shape), a.shape[1]))
    low = layer.run(module, kernel, features.dropped(module, x, own), *args, **kwargs)
    high = (low @ b.astype(low.dtype)).reshape(y.shape)
    return y + (high * fixed["scale"]).astype(y.dtype)


def factors(own: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Returns the factors [inputs, rank · n] and [rank · n, outputs] of the change of a kernel of a shape."""
    fixed, (rank, bases) = own[FIXED], own["lambda"].shape
    rows, columns = matrix.size(fixed, shape)
    if "seed" in fixed:
        a = random_base.uniform(fixed["seed"], 0, min(rows, columns), rank).T * UNIT
        b = random_base.uniform(fixed["seed"], 1, max(rows, columns), bases * rank) * UNIT
    else:
        a, b = fixed["a"], fixed["b"]
    weighted = jnp.einsum("rs,rn,ns->srn", a, own["lambda"], own["gamma"]).reshape(-1, rank * bases)
    return (weighted, b.T) if rows <= columns else (b, weighted.T)


def delta(own: Mapping[str, Any], shape: tuple[int, ...]) -> jax.Array:
    """What the adapter adds to a kernel of a shape."""
    a, b = factors(own, shape)
    return matrix.back(a @ b * own[FIXED]["scale"], own[FIXED], shape)


def serves(site: Site) -> str:
    """Why a module can't be adapted, or ""."""
    if site.kind == "embed":
        return "its bases would be as large as its table; use lora or vera"
    return features.ungrouped(site)


METHOD = Method(init, apply, serves, *features.added(delta))
