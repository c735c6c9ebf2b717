"""An adapter: a factor on each feature of what a layer returns."""

import jax.numpy as jnp

from jtransfer.peft import Method


def init(key, site, params, *, start=1.0):
    """The factors that a layer begins with; `start` is a field of a row."""
    return {"gain": jnp.full(site.outputs, start)}


def apply(module, own, call, x, *args, **kwargs):
    """What the layer returns, times the factors."""
    return call(x, *args, **kwargs) * own["gain"]


def serves(site):
    """Why a module can't be adapted so, or ""."""
    return "" if site.kind in ("dense", "conv") else f"it is a {site.name}; only dense layers and convolutions can"


def merge(own, params):
    """The parameters with which the layer alone computes the same."""
    return {name: leaf * own["gain"] for name, leaf in params.items()}


GAIN = Method(init, apply, serves, merge)
