"""Places ahead of the tokens of texts: added to what an embedding takes, and taken away from what it passed on.

What passes between stages of texts is "x" [b, n, d] with "mask" [b, 1, 1 or n, m], and in some families "positions"
[b, n], "bias" [b, h, n, m] and "end" [b], the place of a token.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.peft import stream
from jtransfer.peft.method import Site


def side(inputs: Any) -> str | None:
    """Returns the prefix of the names of the tokens that an embedding takes, "" or "decoder_"; None for no tokens."""
    if not isinstance(inputs, Mapping):
        return None
    return next((prefix for prefix in ("", "decoder_") if f"{prefix}input_ids" in inputs), None)


def longer(module: Any, inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Returns the inputs of an embedding with places ahead of the tokens, which may be attended to.

    Args:
      module: the embedding.
      inputs: of texts, as transformers names them.
      count: the number of places.

    Raises:
      InputError: the embedding has not as many positions.
    """
    prefix = side(inputs) or ""
    if caching(module) and f"{prefix}position_ids" not in inputs:
        raise InputError(f"with places ahead, tokens that are appended to a cache need {prefix}position_ids")
    longest = max(inputs[key].shape[-1] for name in ("input_ids", "attention_mask") if (key := prefix + name) in inputs)
    limit = getattr(module, "max_length", None) or getattr(module, "rows", None)
    if limit and longest + count > limit:
        raise InputError(
            f"{longest} tokens with {count} places of an adapter before them are more than the model's {limit} "
            f"positions; truncate to {limit - count}"
        )
    change: dict[str, Callable[[Array], Array]] = {
        "input_ids": lambda x: _ahead(x, jnp.full(count, _filler(module), x.dtype)),
        "attention_mask": lambda x: _mask(jnp.asarray(x), count),
        "token_type_ids": lambda x: _ahead(x, jnp.zeros(count, x.dtype)),
        "position_ids": lambda x: _ahead(x + count, jnp.arange(count, dtype=x.dtype) + _origin(module)),
    }
    masked = {name: x for name, x in inputs.items() if name != f"{prefix}lengths"}  # say no more than the mask
    return masked | {prefix + name: f(inputs[prefix + name]) for name, f in change.items() if prefix + name in inputs}


def _ahead(x: Array, first: Array) -> Array:
    return jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], len(first))), x], axis=1)


def _mask(mask: Array, count: int) -> Array:
    """A mask [b, m], or one for each query [b, n, m], where the places ahead attend to each other alone."""
    wide = jnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(count, 0)], constant_values=1)
    if mask.ndim == 2:
        return wide
    alone = jnp.broadcast_to(jnp.arange(wide.shape[2]) < count, (len(mask), count, wide.shape[2]))
    return jnp.concatenate([alone.astype(wide.dtype), wide], axis=1)


def shorter(value: Any, count: int) -> Any:
    """Returns what passes between stages, an array [b, n, d] or a dict, without the places ahead."""
    if not isinstance(value, Mapping):
        return value[:, count:]
    change: dict[str, Callable[[Array], Array]] = {
        "x": lambda x: x[:, count:],
        "mask": lambda x: x[..., count:] if x.shape[2] == 1 else x[:, :, count:, count:],
        "positions": lambda x: x[:, count:],
        "bias": lambda x: x[:, :, count:, count:],
        "end": lambda x: jnp.maximum(x - count, 0),
    }
    return {name: change[name](x) if name in change else x for name, x in value.items()}


def caching(module: Any) -> bool:
    """Returns whether a module is called token by token, with a cache."""
    return module.is_mutable_collection("cache") and not module.is_initializing()


def end_of(site: Site, sites: Mapping[str, Site]) -> tuple[Site, ...]:
    """Returns the module beside an embedding, called after it, that is the first to pass no sequence on.

    There is none in models with a decoder, which attends to the places ahead as well.
    """
    parent, paths = site.path.rpartition("/")[0], list(sites)
    for path in paths[paths.index(site.path) + 1 :]:
        one = sites[path]
        if path.rpartition("/")[0] != parent:
            continue
        if isinstance(one.y, Mapping) and "encoded" in one.y:
            return ()
        if not passes_on(one):
            return (one,)
    return ()


def passes_on(site: Site) -> bool:
    """Returns whether a module takes a sequence and returns one with as many places, in the same form."""
    x, y = stream.read(site.x), stream.read(site.y)
    if x is None or y is None or isinstance(site.x, Mapping) != isinstance(site.y, Mapping):
        return False
    axes = 2 if isinstance(site.x, Mapping) else 3
    return len(x.shape) == len(y.shape) == 3 and x.shape[:axes] == y.shape[:axes]


def _filler(module: Any) -> int:
    """A token that means neither padding nor the end of a text to an embedding."""
    return next(
        token for token in range(3) if token not in (getattr(module, "pad", None), getattr(module, "end", None))
    )


def _origin(module: Any) -> int:
    """The first position of a text: after that of padding, where there is one."""
    pad = getattr(module, "pad", None)
    return 0 if pad is None else pad + 1
