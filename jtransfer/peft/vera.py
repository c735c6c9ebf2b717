"""VeRA (Kopiczko et al. 2023, arXiv:2310.11454): trained factors of a low-rank path whose matrices are random.

The matrices are never stored: a seed tells them (`random_base`), so that all layers share one pair without knowing of
each other. An adapter that comes from elsewhere may bring its own.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.peft import features, fields, layer, random_base, torch_form, torch_random
from jtransfer.peft.method import FIXED, Method, Site


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 256,
    d_initial: float = 0.1,
    seed: int = 0,
    dropout: float = 0.0,
) -> dict[str, Any]:
    """The adapter of one layer: `lambda_d` [rank], all `d_initial`, and `lambda_b` [*outputs], zeros.

    Args:
      key, params: not needed.
      site: the layer.
      rank: of the change.
      d_initial: what the factors between both matrices begin with.
      seed: of the matrices.
      dropout: the rate at which the input is dropped in training.
    """
    del key, params
    fields.whole("rank", rank, 1, 1 << 16)
    fields.number("d_initial", d_initial)
    fields.seed(seed)
    fields.rate("dropout", dropout)
    fixed = {"seed": jnp.uint32(seed)} | ({"dropout": jnp.float32(dropout)} if dropout else {})
    return {"lambda_b": jnp.zeros(site.outputs), "lambda_d": jnp.full(rank, d_initial, jnp.float32), FIXED: fixed}


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through both matrices."""
    y = call(x, *args, **kwargs)
    a, b = matrices(own, features.kernel(module).shape)
    low = layer.run(module, a, layer.dropped(module, x, own[FIXED].get("dropout")), *args, **kwargs)
    high = jnp.tensordot(low * own["lambda_d"].astype(low.dtype), b.astype(low.dtype), 1)
    return y + (high * own["lambda_b"].astype(low.dtype)).astype(y.dtype)


def matrices(own: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Returns the random matrices [*inputs, rank] and [rank, *outputs] of a kernel's shape."""
    fixed, outputs, (rank,) = own[FIXED], own["lambda_b"].shape, own["lambda_d"].shape
    inputs = shape[: len(shape) - len(outputs)]
    sizes = math.prod(inputs), math.prod(outputs)
    a, b = _drawn(fixed["seed"], *sizes, rank) if "seed" in fixed else (fixed["a"], fixed["b"])
    return a[:, : sizes[0]].T.reshape(*inputs, rank), b[: sizes[1]].T.reshape(rank, *outputs)


def _drawn(seed: jax.Array, inputs: int, outputs: int, rank: int) -> tuple[jax.Array, jax.Array]:
    """The matrices [rank, inputs] and [outputs, rank]."""
    a = random_base.uniform(seed, 0, inputs, rank) * bound(inputs)
    return a.T, random_base.uniform(seed, 1, outputs, rank) * bound(rank)


def bound(inputs: int) -> float:
    """Returns the bound of Kaiming's uniform distribution."""
    return math.sqrt(6 / inputs)


def delta(own: Mapping[str, Any], shape: tuple[int, ...]) -> jax.Array:
    """What the adapter adds to a kernel of a shape."""
    a, b = matrices(own, shape)
    return jnp.tensordot(a * own["lambda_d"], b * own["lambda_b"], 1)


PEFT = "VERA"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensors of the module, the matrices of all modules, and settings.

    Args:
      own: the arrays of the adapter.
      site: the layer.
      widest: the largest numbers of inputs and of outputs of all modules, which share their matrices.

    Raises:
      InputError: PEFT has no VeRA for such a layer, or the adapter's own matrices are smaller than all modules need.
    """
    torch_form.check(site, "VeRA", "dense")
    fixed, rank, (inputs, _) = own[FIXED], len(own["lambda_d"]), torch_form.sizes(site)
    d = np.asarray(own["lambda_d"], np.float32)
    if "seed" in fixed:
        a, b = _drawn(jnp.asarray(fixed["seed"]), *widest, rank)
        d = d * np.float32(bound(inputs) / bound(widest[0]))
    elif fixed["a"].shape[1] < widest[0] or len(fixed["b"]) < widest[1]:
        raise InputError(f"{site.path}: the matrices of its VeRA are too small for the other modules")
    else:
        a, b = fixed["a"][:, : widest[0]], fixed["b"][: widest[1]]
    tensors = {
        "vera_lambda_b": np.asarray(own["lambda_b"], np.float32).reshape(-1),
        "vera_lambda_d": d,
        "base_model.vera_A": np.asarray(a, np.float32),
        "base_model.vera_B": np.asarray(b, np.float32),
    }
    key, dropout = int(fixed.get("seed", 0)), float(fixed.get("dropout", 0.0))
    return tensors, {"r": rank, "projection_prng_key": key, "save_projection": True, "vera_dropout": dropout}


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensors of a module are, with the matrices of the file or, if it has none, of the seed.

    Args:
      tensors: of the module, and those of all modules.
      site: the layer.
      settings: those of adapter_config.json; and `widest`, as of `to_peft`, where the file has no matrices.
    """
    torch_form.check(site, "VeRA", "dense")
    rank, (inputs, outputs) = settings["r"], torch_form.sizes(site)
    if "base_model.vera_A" in tensors or settings["save_projection"]:
        a = torch_form.take(tensors, "base_model.vera_A", rank, None)
        b = torch_form.take(tensors, "base_model.vera_B", None, rank)
    else:
        shapes = (rank, settings["widest"][0]), (settings["widest"][1], rank)
        drawn = [(shape, bound(shape[1])) for shape in shapes]
        a, b = torch_random.uniforms(settings["projection_prng_key"], drawn)
    if a.shape[1] < inputs or len(b) < outputs:
        raise InputError(f"vera_A {list(a.shape)} or vera_B {list(b.shape)} is smaller than the layer")
    return {
        "lambda_b": torch_form.take(tensors, "vera_lambda_b", outputs).reshape(site.outputs),
        "lambda_d": torch_form.take(tensors, "vera_lambda_d", rank),
        FIXED: {"a": a, "b": b} | torch_form.dropout(settings["vera_dropout"]),
    }


def scaled(own: Mapping[str, Any], factor: Any) -> dict[str, Any]:
    """The adapter with a multiple of the change, by the factors of the outputs."""
    return {**own, "lambda_b": own["lambda_b"] * factor}


METHOD = Method(init, apply, features.ungrouped, *features.added(delta), delta=delta, scale=scaled)
