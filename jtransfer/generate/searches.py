"""Greedy search, drawing and beam search, each a loop that ends as soon as all texts have ended."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jtransfer.generate import decode
from jtransfer.generate.decode import Cache, Prompt
from jtransfer.generate.logits import adjust, greatest, narrow
from jtransfer.generate.settings import Settings
from jtransfer.layers.types import Array

NEVER = -1e9  # the score of what can't be chosen while anything else can


class Generated(NamedTuple):
    """Generated texts.

    Attributes:
      tokens: int32 [b, max_new_tokens], the new tokens, the one that ends the text included, then padding.
      lengths: int32 [b], the number of tokens before the padding.
      scores: float32 [b], the log probability of each text under the rules of the settings; of beam search, divided by
        length ** length_penalty.
    """

    tokens: Int[Array, "b m"]
    lengths: Int[Array, " b"]
    scores: Float[Array, " b"]


def search(
    model: Any,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Array],
    settings: Settings,
    key: jax.Array | None = None,
) -> Generated:
    """Generates a text for each row of the input. It is pure; `model` and `settings` are static under `jit`.

    Args:
      model: A chain whose head gives logits of tokens. With a stage "decoder_embed" it is an encoder–decoder.
      variables: The variables of the model.
      inputs: What the model takes: `input_ids` int32 [b, n] and optionally `attention_mask` [b, n] (by default all
        ones), with padding on either side. For an encoder–decoder also `decoder_input_ids`, which the text begins with,
        unless `settings.decoder_start_token_id` says it.
      settings: How text is generated.
      key: The random key, if `settings.do_sample`.
    """
    given = decode.prompt(model, variables, inputs, settings)
    logits, cache = decode.begin(model, variables, given, settings.max_new_tokens)
    variables = decode.converted(model, variables, given, cache, settings.max_new_tokens)
    if settings.num_beams > 1:
        return _beams(model, variables, given, logits, cache, settings)
    return _one_by_one(model, variables, given, logits, cache, settings, key)


class _Texts(NamedTuple):
    t: Int[Array, ""]
    ids: Int[Array, "b n"]
    scores: Float[Array, " b"]
    ended: Bool[Array, " b"]


def _one_by_one(model, variables, given: Prompt, logits, cache: Cache, settings: Settings, key) -> Generated:
    """Takes the most likely token, or a drawn one, at each step."""
    mask = decode.whole_mask(given, settings.max_new_tokens)
    drawn = settings.do_sample and settings.temperature > 0

    def draw(logits: Float[Array, "b v"], t: Int[Array, ""]) -> Int[Array, " b"]:
        assert key is not None, "drawing needs a random key"
        return jax.random.categorical(jax.random.fold_in(key, t), logits)

    def extend(texts: _Texts, logits: Float[Array, "b v"]) -> _Texts:
        logits = adjust(logits, texts.ids, mask, texts.t, settings)
        logits = narrow(logits, settings) if drawn else logits
        tokens = draw(logits, texts.t) if drawn else greatest(logits)
        gained = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, None], axis=1)[:, 0]
        tokens = jnp.where(texts.ended, settings.pad_token_id, tokens.astype(jnp.int32))
        ids = _put(texts.ids, tokens, given.ids.shape[1] + texts.t)
        scores = texts.scores + jnp.where(texts.ended, 0.0, gained)
        return _Texts(texts.t + 1, ids, scores, texts.ended | ending(tokens, settings))

    def body(carry):
        texts, cache = carry
        tokens = _last(texts.ids, given.ids.shape[1] + texts.t)
        logits, cache = decode.step(model, variables, given, cache, tokens, texts.t - 1, settings.max_new_tokens)
        return extend(texts, logits), cache

    def goes_on(carry):
        texts, _ = carry
        return (texts.t < settings.max_new_tokens) & ~texts.ended.all()

    size = len(given.ids)
    texts = _Texts(jnp.int32(0), _room(given.ids, settings), jnp.zeros(size), jnp.zeros(size, bool))
    texts, _ = jax.lax.while_loop(goes_on, body, (extend(texts, logits), cache))
    return _generated(texts.ids, texts.scores, settings)


class _Beams(NamedTuple):
    """The state of beam search for b inputs with k beams each.

    Attributes:
      t: The number of new tokens.
      ids: The beams that are not finished, the best first.
      scores: Their log probabilities.
      ended: The best finished texts, the best first.
      ended_scores: Their log probabilities, divided by length ** length_penalty.
      filled: Which of them exist.
      improvable: Whether an input may still find a better text.
      rows: For each unfinished beam, the row of the batch that it continues.
      stuck: Whether no beam can go on.
    """

    t: Int[Array, ""]
    ids: Int[Array, "b k n"]
    scores: Float[Array, "b k"]
    ended: Int[Array, "b k n"]
    ended_scores: Float[Array, "b k"]
    filled: Bool[Array, "b k"]
    improvable: Bool[Array, " b"]
    rows: Int[Array, " b*k"]
    stuck: Bool[Array, ""]


def _beams(model, variables, given: Prompt, logits, cache: Cache, settings: Settings) -> Generated:
    """Beam search with the conventions of Hugging Face's transformers.

    Among the k best continuations, those that end the text are put aside with their scores divided by the length
    penalty. Of twice as many, the k best that do not end it go on.
    """
    size, k = len(given.ids), settings.num_beams
    given, cache = decode.repeat(given, cache, k)
    first = given.ids.shape[1]
    mask = decode.whole_mask(given, settings.max_new_tokens)
    wide = max(2, 1 + len(settings.eos_token_id)) * k

    def extend(beams: _Beams, logits: Float[Array, "bk v"]) -> _Beams:
        scores = jax.nn.log_softmax(logits)
        scores = adjust(scores, beams.ids.reshape(size * k, -1), mask, beams.t, settings)
        scores = jax.nn.log_softmax(scores) if settings.renormalize_logits else scores
        vocab_size = scores.shape[1]
        scores = scores.reshape(size, k, vocab_size) + beams.scores[:, :, None]
        scores, chosen = jax.lax.top_k(scores.reshape(size, -1), wide)
        parents, tokens = chosen // vocab_size, (chosen % vocab_size).astype(jnp.int32)
        ids = _put(_pick(beams.ids, parents), tokens, first + beams.t)
        t = beams.t + 1
        ends = ending(tokens, settings) | (t == settings.max_new_tokens)

        alive, going = jax.lax.top_k(jnp.where(ends, scores + NEVER, scores), k)
        done = jnp.where(ends & (jnp.arange(wide) < k) & beams.improvable[:, None], scores / _penalty(t), NEVER)
        if settings.early_stopping is True:
            done = jnp.where(beams.filled.all(axis=1, keepdims=True), NEVER, done)
        done, best = jax.lax.top_k(jnp.concatenate([beams.ended_scores, done], axis=1), k)
        filled = done > NEVER / 2
        return _Beams(
            t,
            _pick(ids, going),
            alive,
            _pick(jnp.concatenate([beams.ended, ids], axis=1), best),
            done,
            filled,
            beams.improvable & _improvable(alive[:, 0], done, filled, t),
            (jnp.arange(size)[:, None] * k + _pick(parents, going)).reshape(-1),
            jnp.all(ends),
        )

    def _penalty(length):
        return length ** float(settings.length_penalty)

    def _improvable(best, done, filled, t):
        latest = settings.early_stopping == "never" and settings.length_penalty > 0
        possible = best / _penalty(settings.max_new_tokens if latest else t)
        return ~filled.all(axis=1) | (possible > done.min(axis=1))

    def body(carry):
        beams, cache = carry
        cache = decode.reorder(cache, beams.rows)
        tokens = _last(beams.ids, first + beams.t).reshape(-1)
        logits, cache = decode.step(model, variables, given, cache, tokens, beams.t - 1, settings.max_new_tokens)
        return extend(beams, logits), cache

    def goes_on(carry):
        beams, _ = carry
        finished = beams.filled.all() if settings.early_stopping is True else False
        return beams.improvable.any() & ~beams.stuck & ~jnp.bool_(finished)

    room = _room(given.ids, settings).reshape(size, k, -1)
    beams = _Beams(
        t=jnp.int32(0),
        ids=room,
        scores=jnp.full((size, k), NEVER).at[:, 0].set(0.0),
        ended=room,
        ended_scores=jnp.full((size, k), NEVER),
        filled=jnp.zeros((size, k), bool),
        improvable=jnp.ones(size, bool),
        rows=jnp.arange(size * k),
        stuck=jnp.bool_(False),
    )
    logits = jnp.repeat(logits, k, axis=0)
    beams, _ = jax.lax.while_loop(goes_on, body, (extend(beams, logits), cache))
    return _generated(beams.ended[:, 0], beams.ended_scores[:, 0], settings)


def _room(ids: Int[Array, "b n"], settings: Settings) -> Int[Array, "b m"]:
    return jnp.pad(ids.astype(jnp.int32), ((0, 0), (0, settings.max_new_tokens)), constant_values=settings.pad_token_id)


def _put(ids: Int[Array, "*b n"], tokens: Int[Array, "*b"], place: Int[Array, ""]) -> Int[Array, "*b n"]:
    return jax.lax.dynamic_update_slice_in_dim(ids, tokens[..., None], place, axis=-1)


def _last(ids: Int[Array, "*b n"], place: Int[Array, ""]) -> Int[Array, "*b"]:
    return jax.lax.dynamic_index_in_dim(ids, place - 1, axis=-1, keepdims=False)


def _pick(x: Array, which: Int[Array, "b j"]) -> Array:
    """The entries `which` of each row of x [b, k, …]."""
    return jax.vmap(lambda row, chosen: row[chosen])(x, which)


def ending(tokens: Int[Array, "*b"], settings: Settings) -> Bool[Array, "*b"]:
    """Which tokens end a text."""
    return jnp.isin(tokens, jnp.array(settings.eos_token_id, jnp.int32))


def _generated(ids: Int[Array, "b n"], scores: Float[Array, " b"], settings: Settings) -> Generated:
    """The new tokens of texts, with padding after the first one that ends the text."""
    tokens = ids[:, ids.shape[1] - settings.max_new_tokens :]
    before = jnp.cumsum(ending(tokens, settings), axis=1) - ending(tokens, settings)
    inside = before == 0
    return Generated(jnp.where(inside, tokens, settings.pad_token_id), inside.sum(axis=1, dtype=jnp.int32), scores)
