"""T5, BART, mBART and Marian: their stages, their cache, and logits equal to those of transformers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import seq2seq

from jtransfer import models
from jtransfer import tree as trees
from jtransfer.errors import InputError

TINY = {"vocabulary": 31, "width": 16, "depth": 2, "heads": 2, "mlp_width": 24}
T5 = {**TINY, "head_dim": 6, "buckets": 6, "furthest": 6}
BART = {**TINY, "length": 16, "decoder_depth": 1}
NAMES = {"t5_small": T5, "flan_t5_base": T5, "bart_base": BART, "mbart_large": BART, "marian": BART}


@functools.cache
def tiny(name):
    model = models.create(name, **NAMES[name])
    return model, jax.jit(model.init)(jax.random.key(0), model.example_input())


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def inputs(n=7, k=5):
    return seq2seq.inputs(n, k, vocabulary=31)


def test_stages_in_two_parts_give_the_whole(name):
    model, variables = tiny(name)
    whole = model.apply(variables, inputs())
    assert whole.shape == (3, 5, 31)
    assert whole.dtype == jnp.float32
    for stage in model.stages:
        before = model.apply(variables, inputs(), stop=stage)
        np.testing.assert_array_equal(model.apply(variables, before, start=stage), whole)


def test_parameters_are_the_stages_and_the_embedding_is_one(name):
    model, variables = tiny(name)
    assert set(variables["params"]) <= set(model.stages)
    embeddings = [path for path in trees.flatten(variables["params"]) if path.endswith("embedding")]
    assert embeddings == ["embed/tokens/embedding"]


def test_the_encoder_needs_no_decoder_inputs_and_the_decoder_does(name):
    model, variables = tiny(name)
    whole = inputs()
    texts = {key: whole.pop(key) for key in ("input_ids", "attention_mask")}
    encoded = model.apply(variables, texts, stop="decoder_embed")
    assert set(encoded) == {"x", "mask"}
    found = model.apply(variables, {**encoded, **whole}, start="decoder_embed")
    np.testing.assert_array_equal(found, model.apply(variables, {**texts, **whole}))
    with pytest.raises(InputError, match="decoder_input_ids"):
        model.apply(variables, texts)


def test_tokens_one_by_one_through_the_cache_give_the_whole(name):
    model, variables = tiny(name)
    given = inputs()
    whole = model.apply(variables, given)
    texts = {key: given[key] for key in ("input_ids", "attention_mask")}
    encoded = model.apply(variables, texts, stop="decoder_embed")
    mask = given["decoder_attention_mask"]

    @jax.jit
    def decode(cache, ids, positions, encoded):
        more = {"decoder_input_ids": ids, "decoder_attention_mask": mask, "decoder_position_ids": positions}
        return model.apply({**variables, **cache}, {**encoded, **more}, start="decoder_embed", mutable=["cache"])

    ids, places = given["decoder_input_ids"], np.broadcast_to(np.arange(5), (3, 5))
    _, cache = decode({}, np.zeros_like(ids), places, encoded)
    nothing = {**encoded, "x": jnp.full_like(encoded["x"], jnp.nan)}  # what was seen of it is in the cache
    found = []
    for first, last in ((0, 2), (2, 3), (3, 4), (4, 5)):
        logits, cache = decode(cache, ids[:, first:last], places[:, first:last], nothing)
        found.append(logits)
    seen = mask.astype(bool)
    np.testing.assert_allclose(np.concatenate(found, axis=1)[seen], whole[seen], atol=1e-5)


def test_positions_follow_those_in_the_cache_where_none_are_given(name):
    model, variables = tiny(name)
    given = inputs()
    encoded = model.apply(variables, given, stop="decoder_embed")

    def decode(cache, ids):
        more = {"decoder_input_ids": ids}
        return model.apply({**variables, **cache}, {**encoded, **more}, start="decoder_embed", mutable=["cache"])

    ids = given["decoder_input_ids"]
    _, cache = decode({}, ids)
    logits = [(decode(cache, ids[:, :3])), None]
    logits[1] = decode(logits[0][1], ids[:, 3:])
    whole = model.apply(variables, given)
    seen = given["decoder_attention_mask"].astype(bool)
    found = np.concatenate([part for part, _ in logits], axis=1)
    np.testing.assert_allclose(found[seen], whole[seen], atol=1e-5)


def test_padding_of_the_encoder_changes_nothing(name):
    model, variables = tiny(name)
    given = inputs()
    longer = {key: np.pad(given[key], ((0, 0), (0, 3))) for key in ("input_ids", "attention_mask")}
    whole = model.apply(variables, given)
    np.testing.assert_allclose(model.apply(variables, {**given, **longer}), whole, atol=1e-5)
    longer["input_ids"] = longer["input_ids"] + 5 * (1 - longer["attention_mask"])
    np.testing.assert_allclose(model.apply(variables, {**given, **longer}), whole, atol=1e-5)


def test_no_token_sees_a_later_one(name):
    model, variables = tiny(name)
    given = inputs()
    del given["decoder_attention_mask"]
    whole = model.apply(variables, given)
    ids = given["decoder_input_ids"].copy()
    ids[:, 3] = (ids[:, 3] + 1) % 31
    changed = model.apply(variables, {**given, "decoder_input_ids": ids}) != whole
    np.testing.assert_array_equal(changed.any(axis=(0, 2)), np.arange(5) >= 3)


def test_dropout_is_of_training_and_of_all_parts(name):
    model, variables = tiny(name)
    whole = model.apply(variables, inputs())
    norms = [stage for stage in model.stages if name == "mbart_large" and stage.endswith("norm")]
    for start in set(model.stages[:-1]) - set(norms):
        before = model.apply(variables, inputs(), stop=start)
        rngs = {"dropout": jax.random.key(1)}
        found = model.apply(variables, before, start=start, train=True, rngs=rngs)
        assert not np.allclose(found, whole)


def test_gradients_reach_every_parameter(name):
    model, variables = tiny(name)
    given = inputs(12, 9)

    @jax.jit
    @jax.grad
    def gradient(variables):
        return jnp.sin(model.apply(variables, given)).sum()

    unused = [path for path, leaf in trees.flatten(gradient(variables)).items() if not np.any(leaf)]
    assert not [path for path in unused if not path.endswith("key/bias")]  # these change no attention weights


def test_bfloat16_computes_and_gives_float32(name):
    model, variables = tiny(name)
    half = model.clone(dtype=jnp.bfloat16)
    logits = half.apply(variables, inputs())
    assert logits.dtype == jnp.float32
    assert half.apply(variables, inputs(), stop="decoder_1" if "t5" in name else "head")["x"].dtype == jnp.bfloat16
    np.testing.assert_allclose(logits, model.apply(variables, inputs()), atol=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_type_ids": np.zeros((3, 7), np.int32)}, "there is 'token_type_ids'"),
        ({"input_ids": np.zeros((3, 17), np.int32), "attention_mask": np.ones((3, 17))}, "17 tokens, .* 16 positions"),
        ({"decoder_attention_mask": np.ones((3, 20))}, "decoder_input_ids: 20 tokens"),
    ],
)
def test_inputs_that_do_not_fit_are_named(change, message):
    model, variables = tiny("marian")
    with pytest.raises(InputError, match=message):
        model.apply(variables, {**inputs(), **change})


def test_an_unknown_activation_is_named():
    with pytest.raises(InputError, match="unknown activation 'relo'; nearest: relu"):
        models.create("marian", activation="relo").stages  # noqa: B018
