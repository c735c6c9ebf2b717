"""BOFT (Liu et al. 2023, arXiv:2311.06243): inputs turned by a product of block-diagonal matrices, a butterfly.

With one factor that is OFT with a trained scale of the outputs; each further one turns blocks of numbers twice as far
apart.
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
    factors: int = 1,
) -> dict[str, Any]:
    """The adapter of one layer: `rotation` [factors, blocks, b, b], zeros, and `scale` [*outputs], ones.

    Args:
      key, params: not needed.
      site: the layer.
      block_size: b, which divides the number of inputs; None means what is nearest to 4.
      factors: of the butterfly. With more than one, b is even, and b · 2^(factors - 1) divides the number of inputs.
    """
    del key, params
    fields.whole("factors", factors)
    size = math.prod(site.inputs)
    block_size = fields.block(block_size, 4, size, site.path)
    _check(factors, block_size, size, site.path)
    shape = (factors, size // block_size, block_size, block_size)
    return {"rotation": jnp.zeros(shape), "scale": jnp.ones(site.outputs), FIXED: matrix.marks(site)}


def _check(factors: int, block_size: int, size: int, path: str) -> None:
    if factors > 1 and (block_size % 2 or size % (block_size * 2 ** (factors - 1))):
        raise InputError(
            f"adapters: factors={factors} of blocks of {block_size} can't turn the {size} inputs of {path}: blocks "
            "must be even, and block_size · 2^(factors - 1) must divide the inputs"
        )


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns for turned inputs, scaled but for the bias; a convolution with a window runs beside it,
    with the change."""
    kernel, turns = features.kernel(module), blocks(own)
    if "contracted" in own[FIXED]:
        flat = _butterfly(features.rows(module, x), turns)
        return _scaled(module, own, call(features.unrows(module, flat, x), *args, **kwargs))
    if features.pointwise(module, kernel.shape):
        return _scaled(module, own, call(_butterfly(x, turns), *args, **kwargs))
    kernel = kernel.astype(jnp.float32)
    y = call(x, *args, **kwargs)
    change = _turned(own, kernel, turns) * own["scale"] - kernel
    return y + layer.run(module, change, x, *args, **kwargs).astype(y.dtype)


def _scaled(module: Any, own: Mapping[str, Any], y: Array) -> Array:
    scale = own["scale"].astype(y.dtype)
    if not module.has_variable("params", "bias"):
        return y * scale
    return y * scale + module.get_variable("params", "bias").astype(y.dtype) * (1 - scale)


def blocks(own: Mapping[str, Any]) -> Array:
    """Returns the orthogonal matrices [factors, blocks, b, b] of the butterfly."""
    free = own["rotation"].astype(jnp.float32)
    return rotation.cayley((free - rotation.transposed(free)) / 2)


def _butterfly(x: Array, turns: Array) -> Array:
    """x · B of the last axis, where B = Bₙ · … · B₁, and Bᵢ turns blocks of numbers that lie apart."""
    for i in reversed(range(len(turns))):
        x = _apart(x, turns[i], i)
    return x


def _turned(own: Mapping[str, Any], kernel: Array, turns: Array) -> Array:
    """B · kernel."""
    x = matrix.of(kernel, own[FIXED]).T
    for i in range(len(turns)):
        x = _apart(x, rotation.transposed(turns[i]), i)
    return matrix.back(x.T, own[FIXED], kernel.shape)


def _apart(x: Array, turns: Array, level: int) -> Array:
    """The last axis turned, where halves of blocks are 2^level halves apart."""
    if level == 0:
        return rotation.turned(x, turns)
    order = _order(x.shape[-1], turns.shape[-1], level)
    return rotation.turned(x[..., np.argsort(order)], turns)[..., order]


def _order(size: int, block_size: int, level: int) -> np.ndarray:
    """Within 2^level blocks, the halves at even places and then those at odd ones."""
    halves = 2 ** (level + 1)
    order = np.r_[0:halves:2, 1:halves:2]
    return np.arange(size).reshape(-1, halves, block_size // 2)[:, order].reshape(-1)


def merge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the layer with its kernel turned and scaled."""
    return {**params, "kernel": _turned(own, params["kernel"], blocks(own)) * own["scale"]}


def unmerge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `merge`."""
    scaled = params["kernel"] / fields.divisor("scale of boft", own["scale"])
    x = _butterfly(matrix.of(scaled, own[FIXED]).T, blocks(own)).T
    return {**params, "kernel": matrix.back(x, own[FIXED], scaled.shape)}


def serves(site: Site) -> str:
    """Why a module can't be adapted, or ""."""
    return "the inputs of a table of embeddings are names; use oft" if site.kind == "embed" else features.ordered(site)


PEFT = "BOFT"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensors of the module, and settings."""
    del widest
    free, scale = np.asarray(own["rotation"], np.float32), np.asarray(own["scale"], np.float32)
    settings = {"boft_block_size": free.shape[-1], "boft_block_num": 0, "boft_n_butterfly_factor": len(free)}
    return {"boft_R": free, "boft_s": scale.reshape(_column(site))}, settings


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensors of a module are."""
    column, (inputs, outputs) = _column(site), torch_form.sizes(site)
    free = torch_form.take(tensors, "boft_R", None, None, None, None)
    factors, count, size, other = free.shape
    if size != other or count * size != inputs:
        raise InputError(f"boft_R {list(free.shape)} does not fit the {inputs} inputs")
    _check(factors, size, inputs, site.path)
    shape = [outputs if n == -1 else n for n in column]
    scale = torch_form.take(tensors, "boft_s", *shape).reshape(site.outputs)
    return {
        "rotation": free,
        "scale": scale,
        FIXED: {key: np.asarray(leaf) for key, leaf in matrix.marks(site).items()},
    }


def _column(site: Site) -> tuple[int, int]:
    torch_form.check(site, "BOFT", "dense", "conv2")
    if site.groups > 1:
        raise InputError(f"{site.path}: Hugging Face's PEFT has no BOFT for a convolution with groups")
    return (1, -1) if site.kind == "conv" else (-1, 1)


METHOD = Method(init, apply, serves, merge, unmerge, alone=features.has_window)
