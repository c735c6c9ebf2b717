"""Scale and shift of what a module returns (Lian et al. 2022, arXiv:2210.08823): of layers, norms, or any module."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jtransfer.core.errors import InputError
from jtransfer.peft import fields
from jtransfer.peft.method import FIXED, Method, Site, linear


def init(key: jax.Array, site: Site, params: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter of one module: `scale`, ones, and `shift`, zeros, of the features of its output.

    Args:
      key, params: not needed.
      site: the module.
    """
    del key, params
    shape = site.outputs if site.leaf else site.y.shape[-1:]
    own = {"scale": jnp.ones(shape), "shift": jnp.zeros(shape)}
    return own if site.leaf or site.norm else {**own, FIXED: {"apart": jnp.zeros(())}}


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module returns, scaled and shifted."""
    del module
    y = call(*args, **kwargs)
    return y * own["scale"].astype(y.dtype) + own["shift"].astype(y.dtype)


def serves(site: Site) -> str:
    """Why the output of a module can't be scaled, or ""."""
    if site.leaf:
        return linear(site)
    y, given = site.y, jax.tree.leaves(site.x)
    if not any(hasattr(leaf, "shape") for leaf in given):
        return f"it is a {site.name}, which is given numbers, and its output has the axes that they say"
    is_array = hasattr(y, "dtype") and len(y.shape) > 1 and jnp.issubdtype(y.dtype, jnp.floating)
    return "" if is_array else f"it is a {site.name}, which does not return one array of features"


def merge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the module with the scale in its kernel, embeddings or scale, and the shift in its bias."""
    leaf = _leaf(own, params)
    if leaf == "embedding":
        return {**params, leaf: params[leaf] * own["scale"] + own["shift"]}
    return _with_bias(
        {**params, leaf: params[leaf] * own["scale"]}, own, lambda bias: bias * own["scale"] + own["shift"]
    )


def unmerge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `merge`."""
    leaf, scale = _leaf(own, params), fields.divisor("scale of ssf", own["scale"])
    if leaf == "embedding":
        return {**params, leaf: (params[leaf] - own["shift"]) / scale}
    return _with_bias({**params, leaf: params[leaf] / scale}, own, lambda bias: (bias - own["shift"]) / scale)


def _with_bias(params: dict[str, Any], own: Mapping[str, Any], changed: Any) -> dict[str, Any]:
    if "bias" in params:
        return {**params, "bias": changed(params["bias"])}
    if isinstance(own["shift"], Tracer) or own["shift"].any():
        raise InputError("an adapter 'ssf' can't be merged: its module has no bias for the shift; keep it beside")
    return params


def _leaf(own: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    found = next((name for name in ("kernel", "embedding", "scale") if name in params), None)
    if found is None or "apart" in own.get(FIXED, {}):
        raise InputError("an adapter 'ssf' can't be merged: its module is no layer or norm; keep it beside")
    return found


METHOD = Method(init, apply, serves, merge, unmerge)
