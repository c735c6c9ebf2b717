"""RandLoRA (Albert et al. 2025, arXiv:2502.00987): a change of full rank, random bases with trained weights.

The bases are never stored: a seed tells them (`random_base`), as of VeRA. An adapter that comes from elsewhere may
bring its own.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.peft import features, fields, layer, matrix, random_base, torch_form
from jtransfer.peft.method import FIXED, Method, Site

UNIT = math.sqrt(3)  # uniform numbers in (-1, 1) times this have the variance 1


def init(
    key: Array,
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
    fields.whole("rank", rank, 1, 1 << 16)
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
    low = layer.run(module, kernel, layer.dropped(module, x, own[FIXED].get("dropout")), *args, **kwargs)
    high = (low @ b.astype(low.dtype)).reshape(y.shape)
    return y + (high * fixed["scale"]).astype(y.dtype)


def factors(own: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Returns the factors [inputs, rank · n] and [rank · n, outputs] of the change of a kernel of a shape."""
    fixed, (rank, bases) = own[FIXED], own["lambda"].shape
    rows, columns = matrix.size(fixed, shape)
    small, large = sorted((rows, columns))
    if "seed" in fixed:
        a, b = (base * UNIT for base in _drawn(fixed["seed"], small, large, rank, bases))
    else:
        a, b = fixed["a"][:, :small], fixed["b"][:large, :bases]
    b = b.reshape(large, bases * rank)
    weighted = jnp.einsum("rs,rn,ns->srn", a, own["lambda"], own["gamma"]).reshape(small, rank * bases)
    return (weighted, b.T) if rows <= columns else (b, weighted.T)


def _drawn(seed: Array, small: int, large: int, rank: int, bases: int) -> tuple[Array, Array]:
    """The bases [rank, small] and [large, n, rank], in (-1, 1)."""
    a = random_base.uniform(seed, 0, small, rank).T
    return a, random_base.uniform(seed, 1, large, bases * rank).reshape(large, bases, rank)


def delta(own: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
    """What the adapter adds to a kernel of a shape."""
    a, b = factors(own, shape)
    return matrix.back(a @ b * own[FIXED]["scale"], own[FIXED], shape)


def serves(site: Site) -> str:
    """Why a module can't be adapted, or ""."""
    if site.kind == "embed":
        return "its bases would be as large as its table; use lora or vera"
    return features.ungrouped(site)


PEFT = "RANDLORA"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensors of the module, the bases of all modules, and settings.

    Args:
      own: the arrays of the adapter.
      site: the layer.
      widest: the largest numbers of inputs and of outputs of all modules, which share their bases.

    Raises:
      InputError: PEFT has no RandLoRA for such a layer, or the adapter's own bases are smaller than all modules need.
    """
    torch_form.check(site, "RandLoRA", "dense")
    fixed, weights, rank = own[FIXED], np.asarray(own["lambda"], np.float32), len(own["lambda"])
    small, large = sorted(widest)
    bases = -(-small // rank)
    if "seed" in fixed:
        a, b = _drawn(jnp.asarray(fixed["seed"]), small, large, rank, bases)
        weights = weights * 3  # UNIT², as what bfloat16 holds exactly has no such factor
    else:
        a, b = fixed["a"][:, :small], fixed["b"][:large, :bases]
    if a.shape != (rank, small) or b.shape != (large, bases, rank):
        raise InputError(f"{site.path}: the bases of its RandLoRA are too small for the other modules")
    tensors = {
        "randlora_lambda": weights,
        "randlora_gamma": np.asarray(own["gamma"], np.float32),
        "base_model.randlora_A": np.asarray(a, np.float32)[:, None],
        "base_model.randlora_B": np.asarray(b, np.float32),
    }
    key, dropout = int(fixed.get("seed", 0)), float(fixed.get("dropout", 0.0))
    settings = {"projection_prng_key": key, "save_projection": True, "randlora_dropout": dropout}
    return tensors, {"r": rank, "randlora_alpha": float(fixed["scale"]) * rank, **settings}


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensors of a module are, with the bases of the file.

    Raises:
      InputError: the file has no bases, or a tensor of another shape.
    """
    torch_form.check(site, "RandLoRA", "dense")
    if "base_model.randlora_A" not in tensors:
        raise InputError("the bases of RandLoRA are not in the file; save it with save_projection=True")
    rank, (small, large) = settings["r"], sorted(torch_form.sizes(site))
    bases = -(-small // rank)
    a = torch_form.take(tensors, "base_model.randlora_A", rank, 1, None)[:, 0]
    b = torch_form.take(tensors, "base_model.randlora_B", None, None, rank)
    if a.shape[1] < small or len(b) < large or b.shape[1] < bases:
        raise InputError(f"randlora_A {list(a.shape)} or randlora_B {list(b.shape)} is smaller than the layer")
    fixed = {"a": a, "b": b, "scale": torch_form.scale(settings, "randlora_alpha")}
    marks = {name: np.asarray(mark) for name, mark in matrix.marks(site).items()}
    return {
        "lambda": torch_form.take(tensors, "randlora_lambda", rank, bases),
        "gamma": torch_form.take(tensors, "randlora_gamma", bases, small),
        FIXED: {**fixed, **marks, **torch_form.dropout(settings["randlora_dropout"])},
    }


METHOD = Method(init, apply, serves, *features.added(delta), delta=delta, scale=features.scaled)
