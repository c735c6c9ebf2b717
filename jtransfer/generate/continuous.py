"""Continuous batching: a text that has ended gives its place to the next prompt.

    for i, tokens in generate.stream(model, variables, prompts, settings, slots=8):
        print(prompts[i], tokens)

A batch of `generate` takes as many steps as its longest text, and short ones wait for it. Here a fixed number of texts,
each in its slot, decode together, and a slot is filled again as soon as enough of them are free. Two kinds of programs
are compiled: one that reads prompts into slots, for each `bucket` of their lengths, and one that decodes all slots.

References:
  Yu et al., Orca: A Distributed Serving System for Transformer-Based Generative Models, OSDI 2022.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jtransfer.core.errors import InputError
from jtransfer.generate import decode
from jtransfer.generate.buckets import bucket
from jtransfer.generate.checks import check, of_decoder
from jtransfer.generate.decode import Cache, Prompt
from jtransfer.generate.logits import adjust, greatest, narrow
from jtransfer.generate.searches import ending
from jtransfer.generate.settings import Settings
from jtransfer.layers.types import Array

_AT_ONCE = 8  # a slot in so many is filled at a time


class Texts(NamedTuple):
    """Texts that are being written.

    Attributes:
      ids: The prompts, which end at column n, and room for m new tokens.
      mask: False where a prompt has padding, which is on the left.
      t: The numbers of new tokens.
      index: The numbers of the prompts.
      ended: Whether a text has ended, or a slot is empty.
    """

    ids: Int[Array, "b n+m"]
    mask: Bool[Array, "b n"]
    t: Int[Array, " b"]
    index: Int[Array, " b"]
    ended: Bool[Array, " b"]


def stream(
    model: Any,
    variables: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    key: jax.Array | None = None,
    *,
    slots: int = 8,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields a text for each prompt as soon as it has ended, greedily or by drawing tokens.

    The tokens are those that `generate` finds greedily. Tokens that are drawn depend on the key, on the number of the
    prompt among the prompts and on the prompt, and on nothing else, such as the number of slots. It is for decoders
    without an encoder, and for no beam search: `generate` is for these.

    Args:
      model: A chain of a decoder whose head gives logits of tokens.
      variables: The variables of the model, on one device.
      prompts: The tokens of each prompt, without padding.
      settings: How text is generated.
      key: The random key, which is needed if `settings.do_sample`.
      slots: The number of texts that decode together.

    Yields:
      The number of a prompt, and its new tokens int32 [k], the one that ends the text included.

    Raises:
      InputError: As `generate`; or the model has an encoder, or the settings ask for beam search.
    """
    rows = [np.asarray(prompt, np.int32).reshape(-1) for prompt in prompts]
    if not serves(model, settings):
        raise InputError("continuous batching is for decoders without an encoder, and without num_beams; use generate")
    if slots < 1:
        raise InputError(f"slots={slots}: give a whole number from 1")
    empty = next((i for i, row in enumerate(rows) if not len(row)), None)
    if empty is not None:
        raise InputError(f"text {empty} has no tokens in input_ids to go on from")
    if rows:
        longest, highest = max(map(len, rows)), max(int(row.max()) for row in rows)
        check(model, {"input_ids": np.full((1, longest), highest)}, settings, key)
    return _written(model, variables, rows, settings, key, slots) if rows else iter(())


def serves(model: Any, settings: Settings) -> bool:
    """Returns whether `stream` is for a model and settings: decoders without an encoder, and no beam search."""
    return settings.num_beams == 1 and not of_decoder(model)


def _written(model, variables, rows, settings, key, slots) -> Iterator[tuple[int, np.ndarray]]:
    width, at_once = _width(model, rows, settings), -(-slots // _AT_ONCE)
    place = getattr(jax.tree.leaves(variables)[0], "sharding", None)  # that of the results, too: one compilation
    texts, cache = jax.device_put(_empty(model, settings, variables, slots, width), place)
    given = Prompt(texts.ids[:, :width], texts.mask, {})
    lean = decode.converted(model, variables, given, cache, settings.max_new_tokens)
    inside, begun = np.full(slots, -1), 0
    while begun < len(rows) or (inside >= 0).any():
        free, left = np.flatnonzero(inside < 0)[:at_once], len(rows) - begun
        if left and len(free):
            some = range(begun, begun + min(left, len(free)))
            inside[free[: len(some)]] = some
            begun += len(some)
            where = np.resize(free[: len(some)], at_once)
            prompts = Prompt(*_padded([rows[i] for i in inside[where]], width), {})
            texts, cache = _fill(model, settings, variables, texts, cache, key, prompts, where, inside[where])
        else:
            enough = np.int32(min(left, at_once) or slots)
            texts, cache = _decode(model, settings, lean, texts, cache, key, enough)
        ended = np.flatnonzero(np.asarray(texts.ended) & (inside >= 0))
        if len(ended):
            ids, t = np.asarray(texts.ids), np.asarray(texts.t)
            for slot in ended:
                yield int(inside[slot]), ids[slot, width : width + t[slot]].copy()
            inside[ended] = -1


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(3, 4))
def _fill(model, settings, variables, texts: Texts, cache: Cache, key, prompts: Prompt, where, index):
    """Reads prompts [r, k] into the slots `where`, and begins their texts."""
    (size, length), (_, width) = prompts.ids.shape, texts.mask.shape
    logits, new = decode.begin(model, variables, prompts, 0)
    sides = ((0, 0), (width - length, settings.max_new_tokens))
    ids = jnp.pad(prompts.ids, sides, constant_values=settings.pad_token_id)
    mask = jnp.pad(prompts.mask, ((0, 0), (width - length, 0)))
    fresh = Texts(ids, mask, jnp.zeros(size, jnp.int32), index, jnp.zeros(size, bool))
    fresh = _extend(fresh, logits, settings, key)
    texts = jax.tree.map(lambda whole, part: whole.at[where].set(part), texts, fresh)
    return texts, jax.tree.map(partial(_put, where=where, end=width), cache, new)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(3, 4))
def _decode(model, settings, variables, texts: Texts, cache: Cache, key, enough: Int[Array, ""]):
    """Extends the texts of all slots until this many of them have ended."""

    def body(carry):
        texts, cache = carry
        width = texts.mask.shape[1]
        last = jnp.take_along_axis(texts.ids, width + texts.t[:, None] - 1, axis=1)[:, 0]
        given = Prompt(texts.ids[:, :width], texts.mask, {})
        t = texts.t[:, None] - 1
        logits, cache = decode.step(model, variables, given, cache, last, t, settings.max_new_tokens)
        return _extend(texts, logits, settings, key), cache

    return jax.lax.while_loop(lambda carry: carry[0].ended.sum() < enough, body, (texts, cache))


def _extend(texts: Texts, logits: Float[Array, "b v"], settings: Settings, key: jax.Array | None) -> Texts:
    """Appends the next token to each text that has not ended."""
    width, drawn = texts.mask.shape[1], settings.do_sample and settings.temperature > 0
    mask = jnp.pad(texts.mask, ((0, 0), (0, settings.max_new_tokens)), constant_values=True)

    def token(index, logits, ids, mask, t):
        logits = adjust(logits[None], ids[None], mask[None], t, settings)
        if not drawn:
            return greatest(logits[0])
        assert key is not None, "drawing needs a random key"
        own = jax.random.fold_in(jax.random.fold_in(key, index), t)
        return jax.random.categorical(own, narrow(logits, settings)[0])

    tokens = jax.vmap(token)(texts.index, logits, texts.ids, mask, texts.t).astype(jnp.int32)
    tokens = jnp.where(texts.ended, settings.pad_token_id, tokens)
    ids = jnp.asarray(texts.ids).at[jnp.arange(len(tokens)), width + texts.t].set(tokens)
    t = jnp.where(texts.ended, texts.t, texts.t + 1)
    ended = texts.ended | ending(tokens, settings) | (t == settings.max_new_tokens)
    return texts._replace(ids=ids, t=t, ended=ended)


@partial(jax.jit, static_argnums=(0, 1, 3, 4))
def _empty(model, settings, variables, slots: int, width: int) -> tuple[Texts, Cache]:
    """Slots without a text, and their cache, in which each has a place of its own."""
    prompts = Prompt(jnp.zeros((slots, width), jnp.int32), jnp.ones((slots, width), bool), {})
    _, cache = jax.eval_shape(partial(decode.begin, model, room=settings.max_new_tokens), variables, prompts)
    cache = jax.tree.map(lambda x: jnp.zeros(x.shape if x.ndim >= 4 else (*x.shape, slots), x.dtype), cache)
    ids = jnp.zeros((slots, width + settings.max_new_tokens), jnp.int32)
    zeros = jnp.zeros(slots, jnp.int32)
    return Texts(ids, prompts.mask, zeros, zeros - 1, jnp.ones(slots, bool)), cache


def _put(whole: jax.Array, part: jax.Array, where: Int[Array, " r"], end: int) -> jax.Array:
    """Writes keys or values [..., r, heads, k, features] into the slots `where`, up to `end`; or a counter's place."""
    if part.ndim < 4:
        return whole.at[..., where].set(end)
    axis = part.ndim - 4
    for i in range(part.shape[axis]):
        starts = [0] * axis + [where[i], 0, end - part.shape[-2], 0]
        whole = jax.lax.dynamic_update_slice(whole, jax.lax.slice_in_dim(part, i, i + 1, axis=axis), starts)
    return whole


def _width(model, rows: Sequence[np.ndarray], settings: Settings) -> int:
    """The number of columns that hold any of the prompts."""
    longest, limit = max(map(len, rows)), getattr(model, "max_length", None)
    return max(longest, min(bucket(longest), limit - settings.max_new_tokens)) if limit else bucket(longest)


def _padded(rows: Sequence[np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts in one array, with padding on the left up to their bucket or to `most` tokens, and its mask."""
    length = min(bucket(max(map(len, rows))), most)
    ids, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        ids[i, length - len(row) :], mask[i, length - len(row) :] = row, True
    return ids, mask
