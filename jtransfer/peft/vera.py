"""VeRA (Kopiczko et al. 2023, arXiv:2310.11454): trained factors of a low-rank path whose matrices are random.

The matrices are never stored: a seed tells them (`random_base`), so that all layers share one pair without knowing of
each other. An adapter that comes from elsewhere may bring its own.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.peft import features, fields, layer, random_base
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
    fields.whole("rank", rank)
    fields.number("d_initial", d_initial)
    fields.seed(seed)
    fields.rate("dropout", dropout)
    fixed = {"seed": jnp.uint32(seed)} | ({"dropout": jnp.float32(dropout)} if dropout else {})
    return {"lambda_b": jnp.zeros(site.outputs), "lambda_d": jnp.full(rank, d_initial, jnp.float32), FIXED: fixed}


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through both matrices."""
    y = call(x, *args, **kwargs)
    a, b = matrices(own, features.kernel(module).shape)
    low = layer.run(module, a, features.dropped(module, x, own), *args, **kwargs)
    high = jnp.tensordot(low * own["lambda_d"].astype(low.dtype), b.astype(low.dtype), 1)
    return y + (high * own["lambda_b"].astype(low.dtype)).astype(y.dtype)


def matrices(own: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Returns the random matrices [*inputs, rank] and [rank, *outputs] of a kernel's shape."""
    fixed = own[FIXED]
    if "seed" not in fixed:
        return fixed["a"], fixed["b"]
    outputs, (rank,) = own["lambda_b"].shape, own["lambda_d"].shape
    inputs = shape[: len(shape) - len(outputs)]
    a = random_base.uniform(fixed["seed"], 0, math.prod(inputs), rank) * bound(math.prod(inputs))
    b = random_base.uniform(fixed["seed"], 1, math.prod(outputs), rank) * bound(rank)
    return a.reshape(*inputs, rank), b.T.reshape(rank, *outputs)


def bound(inputs: int) -> float:
    """Returns the bound of Kaiming's uniform distribution."""
    return math.sqrt(6 / inputs)


def delta(own: Mapping[str, Any], shape: tuple[int, ...]) -> jax.Array:
    """What the adapter adds to a kernel of a shape."""
    a, b = matrices(own, shape)
    return jnp.tensordot(a * own["lambda_d"], b * own["lambda_b"], 1)


METHOD = Method(init, apply, features.ungrouped, *features.added(delta))
