"""Bottleneck adapters behind a module: y + s · up(act(down(y))).

After the outputs of attention and of the feed-forward network, with "silu", these are the adapters of Houlsby et al.
2019 (arXiv:1902.00751); after the network alone, with "relu", those of Pfeiffer et al. 2020 (arXiv:2005.00247).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import unknown
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.peft import fields, layer, stream
from jtransfer.peft.method import FIXED, Method, Site


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    dim: int = 64,
    activation: str = "relu",
    scale: float = 1.0,
    learned: bool = False,
    dropout: float = 0.0,
) -> dict[str, Any]:
    """The adapter of one module, which begins as no change: `down` [d, dim] is drawn, `up` [dim, d] is zeros.

    Args:
      key: a random key.
      site: the module.
      params: of the module, not used.
      dim: the number of features between the two layers.
      activation: between the two, a name of `layers.activation.ACTIVATIONS`.
      scale: what is added is scaled by it.
      learned: whether the scale is trained.
      dropout: the rate in training of the features between the two.
    """
    features = stream.read(site.y).shape[-1]
    return begin(key, features, features, dim, activation, scale, learned, dropout)


def begin(
    key: jax.Array, inputs: int, outputs: int, dim: int, activation: str, scale: float, learned: bool, dropout: float
) -> dict[str, Any]:
    """Two dense layers with an activation between, whose name is that of the layers in the tree, and a scale."""
    fields.whole("dim", dim, 1, 1 << 16)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    fields.rate("dropout", dropout)
    layers = {
        "down": fields.kaiming(key, (inputs, dim), inputs),
        "down_bias": jnp.zeros(dim),
        "up": jnp.zeros((dim, outputs)),
        "up_bias": jnp.zeros(outputs),
    }
    factor = {"scale": jnp.float32(scale)}
    fixed = ({} if learned else factor) | ({"dropout": jnp.float32(dropout)} if dropout else {})
    return {activation: layers, **(factor if learned else {}), **({FIXED: fixed} if fixed else {})}


def change(module: Any, own: Mapping[str, Any], x: jax.Array) -> jax.Array:
    """What the adapter adds, for features [..., d]."""
    name = next(name for name in own if name in ACTIVATIONS)
    layers, fixed = {key: leaf.astype(x.dtype) for key, leaf in own[name].items()}, own.get(FIXED, {})
    hidden = ACTIVATIONS[name](x @ layers["down"] + layers["down_bias"])
    hidden = layer.dropped(module, hidden, fixed.get("dropout"))
    scale = own["scale"] if "scale" in own else fixed["scale"]
    return (hidden @ layers["up"] + layers["up_bias"]) * scale.astype(x.dtype)


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module returns, changed by the adapter."""
    y = call(*args, **kwargs)
    features = stream.read(y)
    return stream.write(y, features + change(module, own, features))


def serves(site: Site) -> str:
    """Why a module can't be adapted so, or ""."""
    if isinstance(site.x, int | float):
        return f"the {site.name} is called with {site.x}, no features"
    return features_of(site.y, f"what the {site.name} returns")


def features_of(value: Any, called: str) -> str:
    """Why something has no features that an adapter could read, or ""."""
    features = stream.read(value)
    if features is None or not features.shape:
        return f'{called} is no array of features, and no dict with "x"'
    return "" if jnp.issubdtype(features.dtype, jnp.floating) else f"{called} is {features.dtype}, no features"


METHOD = Method(init, apply, serves)
