"""Runs a language model on a prompt, and then token by token, with a cache of keys and values.

A model is a chain of stages. If it has a stage "decoder_embed", the stages before it are an encoder, which runs once.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jtransfer.core.errors import InputError
from jtransfer.generate.narrowed import narrowed
from jtransfer.generate.settings import Settings
from jtransfer.layers.types import Array
from jtransfer.models import forward

DECODER = "decoder_embed"
_KEPT = "seen"  # keys and values of an encoder's outputs, the same for all beams of a text
Cache = Mapping[str, Any]


class Prompt(NamedTuple):
    """The texts that generated tokens are appended to.

    Attributes:
      ids: Tokens int32 [b, n], padded on the left.
      mask: bool [b, n], False where there is padding.
      encoded: What the encoder passes on; empty for a decoder alone.
    """

    ids: Int[Array, "b n"]
    mask: Bool[Array, "b n"]
    encoded: Mapping[str, Any]


def prompt(model: Any, variables: Mapping[str, Any], inputs: Mapping[str, Array], settings: Settings) -> Prompt:
    """Makes the prompt of a decoder, and runs the encoder if there is one. The arguments are those of `search`.

    Raises:
      InputError: Neither the inputs nor the settings say what the decoder of an encoder–decoder begins with.
    """
    if DECODER not in model.stages:
        ids = inputs["input_ids"]
        return Prompt(*left_padded(ids, _mask(inputs, "attention_mask", ids)), {})
    given = {key: value for key, value in inputs.items() if not key.startswith("decoder_")}
    if "decoder_input_ids" in inputs:
        ids = inputs["decoder_input_ids"]
    elif settings.decoder_start_token_id is not None:
        ids = jnp.full((len(inputs["input_ids"]), 1), settings.decoder_start_token_id, jnp.int32)
    else:
        raise InputError("a decoder beside an encoder needs decoder_start_token_id=…, its first token")
    encoded, _ = forward.apply(model, variables, given, stop=DECODER)
    return Prompt(*left_padded(ids, _mask(inputs, "decoder_attention_mask", ids)), encoded)


def begin(model: Any, variables: Mapping[str, Any], given: Prompt, room: int) -> tuple[Float[Array, "b v"], Cache]:
    """Runs a prompt.

    Args:
      model: The model.
      variables: Its variables.
      given: The prompt.
      room: The number of new tokens that the cache has room for.

    Returns:
      The logits of the first new token, and the cache with the prompt in it and room for new tokens.
    """
    mask = whole_mask(given, room)
    run = partial(forward.apply, model, mutable=["cache"])
    blank = jnp.zeros(mask.shape, jnp.int32)
    inputs, start = _call(given, blank, mask, blank)
    _, cache = run(variables, inputs, start=start)
    positions = jnp.maximum(jnp.cumsum(given.mask, axis=1) - 1, 0)
    inputs, start = _call(given, given.ids, mask, positions)
    last, cache = run({**variables, **cache}, inputs, start=start, stop="head")
    last = {**last, "x": last["x"][:, -1:]}
    logits, _ = forward.apply(model, variables, last, start="head")
    return logits[:, -1], cache["cache"]


def step(
    model: Any,
    variables: Mapping[str, Any],
    given: Prompt,
    cache: Cache,
    tokens: Int[Array, " b"],
    t: Int[Array, ""] | Int[Array, "b 1"],
    room: int,
) -> tuple[Float[Array, "b v"], Cache]:
    """Appends a token to each text.

    Args:
      model: The model.
      variables: Its variables.
      given: The prompt.
      cache: The cache with the prompt and the new tokens before this one.
      tokens: The tokens to append.
      t: The number of new tokens before them, of all texts or of each.
      room: The number of new tokens that the cache has room for.

    Returns:
      The logits of the next token, and the cache with `tokens` in it.
    """
    positions = given.mask.sum(axis=1, keepdims=True) + t
    inputs, start = _call(given, tokens[:, None], whole_mask(given, room), positions)
    logits, cache = forward.apply(model, {**variables, "cache": cache}, inputs, start=start, mutable=["cache"])
    return logits[:, -1], cache["cache"]


def converted(model: Any, variables: Mapping[str, Any], given: Prompt, cache: Cache, room: int) -> Any:
    """Returns the variables for `step`, with what is computed in another dtype than it is stored in converted once.

    Arguments as for `step`.
    """
    if jnp.dtype(getattr(model, "dtype", jnp.float32)) == jnp.float32:
        return variables
    t = jnp.zeros((), jnp.int32)

    def one(variables, given, cache):
        return step(model, variables, given, cache, given.ids[:, -1], t, room)

    return narrowed(one, variables, given, cache)


def whole_mask(given: Prompt, room: int) -> Bool[Array, "b m"]:
    """The attention mask over the whole cache: that of the prompt, and True for all new tokens."""
    return jnp.pad(given.mask, ((0, 0), (0, room)), constant_values=True)


def left_padded(ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> tuple[Int[Array, "b n"], Bool[Array, "b n"]]:
    """Moves the padding of texts to the left."""
    order = jnp.argsort(mask, axis=1, stable=True)
    return jnp.take_along_axis(ids, order, axis=1), jnp.take_along_axis(mask, order, axis=1)


def repeat(given: Prompt, cache: Cache, times: int) -> tuple[Prompt, Cache]:
    """Repeats each text `times` times, one after the other, in the prompt and in the cache."""
    size = len(given.ids)

    def rows(x: Array) -> Array:
        return jnp.repeat(x, times, axis=0) if x.ndim and len(x) == size else x

    return jax.tree.map(rows, given), jax.tree.map(lambda x: _along_batch(x, partial(jnp.repeat, repeats=times)), cache)


def reorder(cache: Cache, rows: Int[Array, " b"]) -> Cache:
    """Reorders the texts in a cache, among the beams of one input.

    Args:
      cache: The cache.
      rows: For each new row, the row whose place it takes.
    """

    def moved(path: tuple, x: Array) -> Array:
        shared = any(getattr(key, "key", None) == _KEPT for key in path)
        return x if shared else _along_batch(x, partial(jnp.take, indices=rows))

    return jax.tree_util.tree_map_with_path(moved, cache)


def _along_batch(x: Array, change: Any) -> Array:
    """Changes keys and values, [..., batch, heads, positions, features], along the batch; counters are left alone."""
    return x if x.ndim < 4 else change(x, axis=x.ndim - 4)


def _mask(inputs: Mapping[str, Array], key: str, ids: Int[Array, "b n"]) -> Bool[Array, "b n"]:
    return jnp.asarray(inputs[key]).astype(bool) if key in inputs else jnp.ones(ids.shape, bool)


def _call(given: Prompt, ids: Array, mask: Array, positions: Array) -> tuple[dict[str, Any], str | None]:
    """The input of the model, and the name of the stage that takes it."""
    prefix = "decoder_" if given.encoded else ""
    names = {"input_ids": ids, "attention_mask": mask.astype(jnp.int32), "position_ids": positions}
    return {**given.encoded, **{prefix + name: array for name, array in names.items()}}, DECODER if prefix else None
