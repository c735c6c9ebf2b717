"""Prefix tuning (Li & Liang 2021, arXiv:2101.00190): trained keys and values ahead of those of an attention."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.layers.seen import Seen, mask_of
from jtransfer.peft import ahead, fields, stream
from jtransfer.peft.method import FIXED, Method, Site

PLACES = "places"  # fixed/places [length]: the module that embeds the tokens leaves as many positions before them


def init(
    key: jax.Array, site: Site, params: Mapping[str, Any], *, length: int = 20, positions: bool = True
) -> dict[str, Any]:
    """The prefix of one attention: `keys` and `values` [length, heads, head_dim], with a standard deviation of 0.02.

    Every query attends to all of them. They are keys as after a norm or a rotation, and have no bias by position.

    Args:
      key: a random key.
      site: the attention; or the module that embeds its tokens.
      params: of the module, not used.
      length: the number of keys.
      positions: whether the prefix takes up positions as in transformers and Hugging Face's PEFT, so that the first
        token has the position `length`; positions that are relative stay as they are.
    """
    fields.whole("length", length, 1, 1 << 16)
    if not _attends(site):
        return {FIXED: {PLACES: jnp.zeros(length)}} if positions else {}
    shape = (length, *_heads(site))
    keys, values = (0.02 * jax.random.normal(k, shape) for k in jax.random.split(key))
    return {"keys": keys, "values": values}


def _heads(site: Site) -> tuple[int, int]:
    """The number of heads of keys and values, and of the features of each."""
    made = next(child for child in site.children if child.path.endswith("/key"))
    if len(made.outputs) == 2:
        heads, features = made.outputs
        return heads, features
    heads = site.fields.get("num_kv_heads") or site.fields["num_heads"]
    return heads, math.prod(made.outputs) // heads


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the attention returns with the prefix; or what is embedded at later positions."""
    if PLACES in own.get(FIXED, {}):
        count = own[FIXED][PLACES].shape[-1]
        inputs = ahead.longer(module, stream.first(args, kwargs), count)
        args, kwargs = stream.replaced(args, kwargs, inputs)
        return ahead.shorter(call(*args, **kwargs), count)
    before = module.attention_fn
    object.__setattr__(module, "attention_fn", _with_prefix(before, own["keys"], own["values"]))
    try:
        return call(*args, **kwargs)
    finally:
        object.__setattr__(module, "attention_fn", before)


def _with_prefix(attend: Any, keys: jax.Array, values: jax.Array):
    @functools.wraps(attend)
    def attend_to_more(q, k, v, *args, mask=None, bias=None, causal=False, window=None, lengths=None, **kwargs):
        if causal or lengths is not None:
            mask = mask_of(q.shape[1], k.shape[1], Seen(causal, window, lengths), mask)
        given = {name: x for name, x in (("mask", mask), ("bias", bias)) if x is not None}
        more = {name: _wider(x, k.shape[-3], len(keys), name == "mask") for name, x in given.items()}
        k, v = (_ahead(prefix, x) for prefix, x in ((keys, k), (values, v)))
        return attend(q, k, v, *args, **more, **kwargs)

    return attend_to_more


def _ahead(prefix: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.broadcast_to(prefix.astype(x.dtype), (*x.shape[:-3], *prefix.shape)), x], axis=-3)


def _wider(x: jax.Array | np.ndarray, keys: int, count: int, value: bool) -> jax.Array:
    x = jnp.broadcast_to(x, (*x.shape[:-1], keys))
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(count, 0)], constant_values=value)


def serves(site: Site) -> str:
    """Why a module can't be adapted so, or ""."""
    if not _attends(site):
        return (
            f"it is a {site.name}; a prefix is for attention with a field `attention_fn` and a dense layer `key`, as "
            "this package's and Flax's"
        )
    told = getattr(site.fields["attention_fn"], "keywords", {})
    return "its attention_fn is causal by the number of keys; give it a mask" if told.get("is_causal") else ""


def _attends(site: Site) -> bool:
    made = any(child.path.endswith("/key") and child.kind == "dense" for child in site.children)
    return callable(site.fields.get("attention_fn")) and "num_heads" in site.fields and made


def partners(site: Site, sites: Mapping[str, Site]) -> tuple[Site, ...]:
    """The module that embeds the tokens, the last one before the attention, where positions are not relative."""
    before = list(sites.values())[: list(sites).index(site.path)]
    found = [one for one in before if _embeds(one)]
    return tuple(one for one in found[-1:] if "bias" not in one.y)


def _embeds(site: Site) -> bool:
    """Whether a module makes a sequence of tokens, and passes them on no longer."""
    prefix = ahead.side(site.x)
    return prefix is not None and isinstance(site.y, Mapping) and "x" in site.y and f"{prefix}input_ids" not in site.y


METHOD = Method(init, apply, serves, partners=partners)
