"""OFT (Qiu et al. 2023, arXiv:2306.07280): inputs of a layer are turned, block by block; of embeddings, outputs.

The kernel is multiplied by an orthogonal matrix, so that the angles between its columns stay as they are.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.peft import features, fields, layer, matrix, rotation, torch_form
from jtransfer.peft.method import FIXED, Method, Site


def init(
    key: Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    block_size: int | None = None,
    block_share: bool = False,
    neumann_terms: int = 0,
    eps: float | None = None,
) -> dict[str, Any]:
    """The adapter of one layer: `skew` [blocks, b · (b - 1) / 2], zeros, what is above the diagonal of each Q.

    Args:
      key, params: not needed.
      site: the layer.
      block_size: b, which divides the number of inputs; None means what is nearest to 32.
      block_share: whether one block serves for all.
      neumann_terms: how many terms of a series stand for the inverse in (I - Q)(I + Q)⁻¹, as in Hugging Face's PEFT,
        whose usual number is 5; 0 means the inverse itself, with which the matrices are orthogonal.
      eps: the largest norm of all of Q (COFT); None means any.
    """
    del key, params
    size = _turned_size(site)
    block_size = fields.block(block_size, 32, size, site.path)
    stored = 1 if block_share else size // block_size
    fixed = _fixed(site, size // block_size if block_share else 0, neumann_terms, eps)
    return {"skew": jnp.zeros((stored, block_size * (block_size - 1) // 2)), FIXED: fixed}


def _turned_size(site: Site) -> int:
    return math.prod(site.outputs if site.kind == "embed" else site.inputs)


def _fixed(site: Site, shared: int, neumann_terms: int, eps: float | None) -> dict[str, Any]:
    fixed: dict[str, Any] = matrix.marks(site)
    if neumann_terms:
        fields.whole("neumann_terms", neumann_terms, 2)
        fixed["neumann"] = coefficients(neumann_terms)
    if eps is not None:
        fields.number("eps", eps)
        fixed["eps"] = jnp.float32(eps)
    return {**fixed, "share": jnp.zeros(shared)} if shared else fixed


def coefficients(terms: int) -> Array:
    """Returns those of the powers of Q in the series of a number of terms, as Hugging Face's PEFT counts them."""
    if terms == 2:
        return jnp.array([1.0, 2.0])
    return jnp.array([1.0, 2.0, 2.0] + [2.0] * (terms - 4) + [1.0])


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns for turned inputs; a convolution with a window runs beside it, with the change."""
    turns, shape = blocks(own), features.kernel(module).shape
    if features.is_lookup(x):
        return rotation.turned(call(x, *args, **kwargs), turns)
    if "contracted" in own[FIXED]:
        flat = rotation.turned(features.rows(module, x), turns)
        return call(features.unrows(module, flat, x), *args, **kwargs)
    if features.pointwise(module, shape):
        return call(rotation.turned(x, turns), *args, **kwargs)
    kernel = features.kernel(module).astype(jnp.float32)
    change = _turned(own, kernel, rotation.transposed(turns)) - kernel
    y = call(x, *args, **kwargs)
    return y + layer.run(module, change, x, *args, **kwargs).astype(y.dtype)


def blocks(own: Mapping[str, Any]) -> Array:
    """Returns the matrices [blocks, b, b] by which the inputs are turned."""
    vector, fixed = own["skew"], own[FIXED]
    size = _block_size(vector)
    rows, columns = np.triu_indices(size, 1)
    upper = jnp.zeros((len(vector), size, size)).at[:, rows, columns].set(vector.astype(jnp.float32))
    skew = upper - rotation.transposed(upper)
    if "eps" in fixed:
        skew = _within(skew, fixed["eps"] / math.sqrt(len(vector)))
    turns = rotation.series(skew, fixed["neumann"]) if "neumann" in fixed else rotation.cayley(skew)
    return jnp.broadcast_to(turns, (*fixed["share"].shape, size, size)) if "share" in fixed else turns


def _block_size(vector: Any) -> int:
    return (1 + math.isqrt(1 + 8 * vector.shape[-1])) // 2


def _within(skew: Array, most: Array) -> Array:
    squared = jnp.square(skew).sum((-2, -1), keepdims=True)
    is_larger = squared > most**2
    return jnp.where(is_larger, skew * most / jnp.sqrt(jnp.where(is_larger, squared, 1.0)), skew)


def merge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the layer with its kernel turned."""
    return _changed(own, params, blocks(own))


def unmerge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `merge`."""
    return _changed(own, params, jnp.linalg.inv(blocks(own)))


def _changed(own: Mapping[str, Any], params: Mapping[str, Any], turns: Array) -> dict[str, Any]:
    if "embedding" in params:
        return {**params, "embedding": rotation.turned(params["embedding"], turns)}
    return {**params, "kernel": _turned(own, params["kernel"], rotation.transposed(turns))}


def _turned(own: Mapping[str, Any], kernel: Array, turns: Array) -> Array:
    fixed = own[FIXED]
    return matrix.back(rotation.turned(matrix.of(kernel, fixed).T, turns).T, fixed, kernel.shape)


PEFT = "OFT"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensor of the module, and settings."""
    del widest
    skew, fixed = np.asarray(own["skew"], np.float32), own[FIXED]
    settings: dict[str, Any] = {"r": 0, "oft_block_size": _block_size(skew), "block_share": "share" in fixed}
    settings["use_cayley_neumann"] = "neumann" in fixed
    if "neumann" in fixed:
        settings["num_cayley_neumann_terms"] = len(fixed["neumann"])
    settings |= {"coft": True, "eps": float(fixed["eps"])} if "eps" in fixed else {"coft": False}
    return {_tensor(site): skew}, settings


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensor of a module is."""
    name, size = _tensor(site), _turned_size(site)
    skew = torch_form.take(tensors, name, None, None)
    block_size = _block_size(skew)
    count = size // block_size
    if (count * block_size, block_size * (block_size - 1) // 2) != (size, skew.shape[1]):
        raise InputError(f"{name} {list(skew.shape)} does not fit the {size} numbers that are turned")
    if len(skew) != (1 if settings["block_share"] else count):
        raise InputError(f"{name} has {len(skew)} blocks; the layer has {count}")
    terms = settings["num_cayley_neumann_terms"] if settings["use_cayley_neumann"] else 0
    fixed = _fixed(site, count if settings["block_share"] else 0, terms, settings["eps"] if settings["coft"] else None)
    return {"skew": skew, FIXED: {key: np.asarray(leaf) for key, leaf in fixed.items()}}


def _tensor(site: Site) -> str:
    torch_form.check(site, "OFT", "dense", "embed", "conv2")
    if features.has_window(site):
        raise InputError(f"{site.path}: what PEFT's OFT does before a convolution with a window is not what it merges")
    return "oft_embedding_R.weight" if site.kind == "embed" else "oft_R.weight"


METHOD = Method(init, apply, features.ordered, merge, unmerge, alone=features.has_window)
