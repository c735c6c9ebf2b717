"""Bottleneck adapters beside a module: y + s · up(act(down(x))).

He et al. 2021 (arXiv:2110.04366) have them beside the feed-forward network, and AdaptFormer (Chen et al. 2022,
arXiv:2205.13535) with s = 0.1, from the input of the norm before it.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError, unknown
from jtransfer.peft import bottleneck, slots, stream
from jtransfer.peft.method import FIXED, Method, Site

SPAN = "span"  # fixed/span/<first>/<last>: of the modules inside between which the adapter lies


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
    start: str = "",
) -> dict[str, Any]:
    """The adapter of one module, which begins as no change. The fields are those of "bottleneck", and `start`.

    It goes from the input of the first dense layer directly inside the module to the output of the last: in a layer of
    a transformer these are the ends of its feed-forward network. In a module without such layers it goes from the
    module's own input to its output.

    Args:
      key: a random key.
      site: the module.
      params: of the module, not used.
      dim, activation, scale, learned, dropout: as of "bottleneck".
      start: the name of a module inside whose input the adapter takes; "" is the first dense layer.
    """
    first, last = _ends(site, start)
    inputs, outputs = (stream.read(value).shape[-1] for value in (first.x, last.y))
    own = bottleneck.begin(key, inputs, outputs, dim, activation, scale, learned, dropout)
    if first is site:
        return own
    for child in (first, last):
        if slots.is_slot(_name(child)):
            raise InputError(f"adapters: {child.path} has the name of a method, so nothing can be beside it")
    span = {_name(first): {_name(last): jnp.zeros(())}}
    return {**own, FIXED: {**own.get(FIXED, {}), SPAN: span}}


def _ends(site: Site, start: str = "") -> tuple[Site, Site]:
    """The modules of whose input and of whose output the adapter is."""
    dense = [child for child in site.children if child.kind == "dense"]
    named = {_name(child): child for child in site.children}
    if start and start not in named:
        raise unknown(f"start of the adapter of {site.path}:", start, named)
    if not dense:
        if start:
            raise InputError(f"adapters: start={start!r}, but no dense layer is directly inside {site.path}")
        return site, site
    return named[start] if start else dense[0], dense[-1]


def _name(site: Site) -> str:
    return site.path.rpartition("/")[2]


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module returns, with the adapter beside it or beside the layers inside of it."""
    span = own.get(FIXED, {}).get(SPAN)
    if span is None:
        y, x = call(*args, **kwargs), stream.read(stream.first(args, kwargs))
        return stream.write(y, stream.read(y) + bottleneck.change(module, own, x))
    ((start, rest),) = span.items()
    (end,) = rest
    taken: list[jax.Array] = []

    def beside(call, args, kwargs, context):
        path = context.module.path if context.method_name == "__call__" else ()
        if path == (*module.path, start):
            taken.append(stream.read(stream.first(args, kwargs)))
        y = call(*args, **kwargs)
        if path != (*module.path, end):
            return y
        return stream.write(y, stream.read(y) + bottleneck.change(module, own, taken[-1]))

    with nn.intercept_methods(beside):
        return call(*args, **kwargs)


def serves(site: Site) -> str:
    """Why a module can't be adapted so, or ""."""
    first, last = _ends(site)
    for value, called in ((first.x, f"the input of {first.path}"), (last.y, f"the output of {last.path}")):
        if why := bottleneck.features_of(value, called):
            return why
    before, after = (stream.read(value).shape[:-1] for value in (first.x, last.y))
    return "" if before == after else f"its output has other positions than its input: {after}, not {before}"


METHOD = Method(init, apply, serves)
