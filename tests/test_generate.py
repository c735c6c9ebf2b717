"""Generation: the tokens of transformers, whatever the padding; one compilation a bucket; what is drawn is allowed."""

import functools
import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import decoders

from jtransfer import generate, models, weights
from jtransfer.core.errors import InputError
from jtransfer.generate import Settings, decode
from jtransfer.generate.logits import greatest
from jtransfer.generate.narrowed import narrowed
from jtransfer.weights import maps

RUNS = [
    (path.stem, kind)
    for path in sorted(decoders.FOLDER.glob("*.npz"))
    for kind in decoders.load(path.stem)[0]["runs"]
    if any(
        decoders.load(path.stem)[0]["config"]["model_type"] in getattr(family, "STATED", ())
        for family in maps.families()
    )
]
TINY = {"vocab_size": 11, "max_length": 64, "width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 24}


@functools.cache
def tiny(**fields):
    model = models.create("gpt2", **{**TINY, **fields})
    variables = model.init(jax.random.key(0), model.example_input())
    return model, jax.tree.map(lambda x: 5 * x, variables)  # so that its likeliest tokens are likely


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    @functools.cache
    def make(case):
        return weights.restore(decoders.write(case, tmp_path_factory.mktemp(case)))[:2]

    return make


def texts(*lengths, left=True):
    """Prompts of these lengths in one array, with padding 0."""
    width = max(lengths)
    ids = np.random.Generator(np.random.Philox(key=1)).integers(1, 11, (len(lengths), width), np.int32)
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int32)
    inputs = {"input_ids": ids * mask, "attention_mask": mask}
    if left:
        shifts = [width - n for n in lengths]
        inputs = {key: np.stack(list(map(np.roll, array, shifts))) for key, array in inputs.items()}
    return inputs


def same(found, tokens):
    """Whether the texts are those of transformers, which fills up after the end with what it likes."""
    return all(
        n <= len(theirs) and np.array_equal(row[:n], theirs[:n]) and len(set(theirs[n:])) <= 1
        for row, theirs, n in zip(np.asarray(found.tokens), tokens, np.asarray(found.lengths), strict=True)
    )


@pytest.mark.parametrize(("case", "kind"), RUNS)
def test_tokens_equal_transformers(restored, case, kind):
    model, variables = restored(case)
    spec, arrays = decoders.load(case)
    beside = "decoder_embed" in model.stages
    ids, mask = decoders.prompts(spec["config"]["vocab_size"], spec["config"]["pad_token_id"], left=not beside)
    settings = generate.from_config(spec["runs"][kind], encoder_decoder=beside)
    found = generate.generate(model, variables, {"input_ids": ids, "attention_mask": mask}, settings)
    assert same(found, arrays[f"tokens {kind}"])
    if settings.num_beams > 1:
        np.testing.assert_allclose(found.scores, arrays[f"scores {kind}"], atol=1e-4)


@pytest.mark.live
@pytest.mark.parametrize("case", ["qwen2", "t5"])
@pytest.mark.filterwarnings("ignore")
def test_tokens_equal_transformers_that_runs_here(tmp_path, case):
    import make_decoder_references as live
    import torch

    theirs, spec = live.build(case)
    torch.manual_seed(0)
    for weight in {id(tensor): tensor for tensor in theirs.state_dict().values()}.values():
        if weight.ndim > 1:
            weight.normal_(std=0.25)
    theirs.save_pretrained(tmp_path)
    model, variables, _ = weights.restore(tmp_path)
    beside, pad = "decoder_embed" in model.stages, spec["config"]["pad_token_id"]
    ids, mask = decoders.prompts(61, pad, left=not beside)
    for kind in ("greedy", "beams_rules"):
        fields = {**live.COMMON, **live.GENERATE[kind], "pad_token_id": pad, "eos_token_id": 5}
        fields |= {"decoder_start_token_id": 0} if beside else {}
        found = generate.generate(
            model,
            variables,
            {"input_ids": ids, "attention_mask": mask},
            generate.from_config(fields, encoder_decoder=beside),
        )
        assert same(found, live.generated(theirs, ids, mask, fields)[0])


SEARCHES = {
    "greedy": Settings(max_new_tokens=8, eos_token_id=(3,)),
    "beams": Settings(max_new_tokens=8, eos_token_id=(3,), num_beams=3),
    "rules": Settings(
        max_new_tokens=8, eos_token_id=(3,), no_repeat_ngram_size=2, repetition_penalty=1.5, min_new_tokens=3
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_padding_changes_nothing(name):
    model, variables = tiny()
    left, right = texts(9, 4), texts(9, 4, left=False)
    wide = {key: np.pad(array, ((0, 0), (21, 0))) for key, array in left.items()}
    alone = {key: array[1:, 5:] for key, array in left.items()}
    first, *others, one = (
        generate.generate(model, variables, inputs, SEARCHES[name]).tokens for inputs in (left, right, wide, alone)
    )
    for other in others:
        np.testing.assert_array_equal(other, first)
    np.testing.assert_array_equal(one[0], first[1])


def test_the_cache_gives_what_the_whole_text_gives():
    model, variables = tiny(depth=2)
    inputs = texts(5, 5)
    found = generate.generate(model, variables, inputs, Settings(max_new_tokens=6))
    ids = inputs["input_ids"]
    for t in range(6):
        logits = model.apply(variables, {"input_ids": ids})[:, -1]
        np.testing.assert_array_equal(found.tokens[:, t], logits.argmax(axis=-1))
        ids = np.concatenate([ids, logits.argmax(axis=-1)[:, None]], axis=1)


def test_as_many_beams_as_texts_find_the_best_of_all():
    model, variables = tiny()
    ids = texts(3)["input_ids"]
    settings = Settings(max_new_tokens=2, num_beams=11)
    found = generate.generate(model, variables, {"input_ids": ids}, settings)
    pairs = np.array(list(itertools.product(range(11), repeat=2)), np.int32)
    whole = np.concatenate([np.repeat(ids, len(pairs), axis=0), pairs], axis=1)
    logits = jax.nn.log_softmax(model.apply(variables, {"input_ids": whole}))
    scores = sum(logits[np.arange(len(pairs)), 2 + i, pairs[:, i]] for i in range(2))
    np.testing.assert_array_equal(found.tokens[0], pairs[scores.argmax()])
    np.testing.assert_allclose(found.scores[0], scores.max() / 2, atol=1e-5)


def test_scores_are_log_probabilities():
    model, variables = tiny()
    ids = texts(4, 4)["input_ids"]
    found = generate.generate(model, variables, {"input_ids": ids}, Settings(max_new_tokens=5))
    whole = np.concatenate([ids, found.tokens], axis=1)
    logits = jax.nn.log_softmax(model.apply(variables, {"input_ids": whole}))
    gained = np.take_along_axis(logits[:, 3:-1], np.asarray(found.tokens)[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(found.scores, gained.sum(axis=1), atol=1e-4)


def drawn(rows, settings, seed=0):
    """First tokens of `rows` texts that go on from the same prompt, and the logits of these."""
    model, variables = tiny()
    ids = texts(4)["input_ids"]
    inputs = {"input_ids": np.repeat(ids, rows, axis=0)}
    found = generate.generate(model, variables, inputs, settings, jax.random.key(seed))
    return np.asarray(found.tokens)[:, 0], np.asarray(model.apply(variables, {"input_ids": ids})[0, -1])


def test_draws_follow_the_distribution():
    tokens, logits = drawn(4000, Settings(max_new_tokens=1, do_sample=True, temperature=2.0))
    expected = jax.nn.softmax(logits / 2.0)
    assert np.sort(expected)[-2] > 0.03
    np.testing.assert_allclose(np.bincount(tokens, minlength=11) / 4000, expected, atol=0.03)


def test_top_k_draws_no_other():
    tokens, logits = drawn(1000, Settings(max_new_tokens=1, do_sample=True, temperature=50.0, top_k=3))
    assert set(tokens) == set(np.argsort(logits)[-3:])


@pytest.mark.parametrize("top_p", [0.2, 0.6, 0.9])
def test_top_p_draws_from_the_fewest_that_suffice(top_p):
    tokens, logits = drawn(2000, Settings(max_new_tokens=1, do_sample=True, temperature=3.0, top_p=top_p))
    likely = np.asarray(jax.nn.softmax(logits / 3.0))
    order = np.argsort(-likely)
    enough = 1 + int(np.searchsorted(np.cumsum(likely[order]), top_p))
    assert set(tokens) == set(order[:enough])


def test_a_cold_draw_is_greedy_and_a_key_gives_the_same_again():
    model, variables = tiny()
    inputs = texts(5, 3)

    def run(key=None, **fields):
        return generate.generate(model, variables, inputs, Settings(max_new_tokens=12, **fields), key).tokens

    keys = jax.random.split(jax.random.key(7), 2)
    greedy = run()
    np.testing.assert_array_equal(run(keys[0], do_sample=True, temperature=1e-4), greedy)
    np.testing.assert_array_equal(run(do_sample=True, temperature=0.0), greedy)
    warm = run(keys[0], do_sample=True, temperature=5.0)
    np.testing.assert_array_equal(run(keys[0], do_sample=True, temperature=5.0), warm)
    assert (run(keys[1], do_sample=True, temperature=5.0) != warm).any()


def test_a_text_ends_with_its_end_and_then_padding():
    model, variables = tiny()
    inputs = texts(6, 6, 6, 6)
    endless = np.asarray(generate.generate(model, variables, inputs, Settings(max_new_tokens=10)).tokens)
    eos = int(endless[0, 4])
    found = generate.generate(
        model, variables, inputs, Settings(max_new_tokens=10, eos_token_id=(eos,), pad_token_id=1)
    )
    for row, whole, length in zip(found.tokens, endless, found.lengths, strict=True):
        expected = list(whole).index(eos) + 1 if eos in whole else 10
        assert length == expected
        np.testing.assert_array_equal(row, [*whole[:expected], *[1] * (10 - expected)])


def test_what_is_forced_and_what_is_suppressed():
    model, variables = tiny()
    inputs = texts(1, 1)
    plain = np.asarray(generate.generate(model, variables, inputs, Settings(max_new_tokens=6)).tokens)
    barred = tuple(map(int, set(plain[0])))
    for beams in (1, 3):
        settings = Settings(
            max_new_tokens=6, suppress_tokens=barred, forced_bos_token_id=9, forced_eos_token_id=8, num_beams=beams
        )
        tokens = np.asarray(generate.generate(model, variables, inputs, settings).tokens)
        assert not set(tokens[:, 1:-1].ravel()) & set(barred)
        assert set(tokens[:, 0]) == {9}
        assert set(tokens[:, -1]) == {8}


def test_a_decoder_goes_on_from_what_it_is_given(restored):
    model, variables = restored("t5")
    ids, mask = decoders.prompts(61, 0, left=False)
    inputs = {"input_ids": ids, "attention_mask": mask}
    forced = generate.generate(
        model, variables, inputs, Settings(max_new_tokens=6, decoder_start_token_id=0, forced_bos_token_id=7)
    )
    inputs["decoder_input_ids"] = np.array([[0, 7]] * 3)
    found = generate.generate(model, variables, inputs, Settings(max_new_tokens=5))
    np.testing.assert_array_equal(found.tokens, forced.tokens[:, 1:])
    del inputs["decoder_input_ids"]
    with pytest.raises(InputError, match="decoder_start_token_id=…, its first token"):
        generate.generate(model, variables, inputs, Settings())


def test_no_sequence_of_tokens_comes_twice():
    model, variables = tiny()
    inputs = texts(6, 6)
    for beams in (1, 2):
        settings = Settings(max_new_tokens=30, no_repeat_ngram_size=2, num_beams=beams)
        tokens = np.asarray(generate.generate(model, variables, inputs, settings).tokens)
        for row in np.concatenate([inputs["input_ids"][:, -1:], tokens], axis=1):
            pairs = list(itertools.pairwise(row))
            assert len(set(pairs)) == len(pairs)


def test_one_compilation_for_all_lengths_of_a_bucket():
    model, variables = tiny(depth=1, mlp_dim=25)
    settings = Settings(max_new_tokens=3)
    before = generate.compiled._cache_size()
    for length in (2, 3, 7, 8):
        generate.generate(model, variables, texts(length, 2), settings)
    assert generate.compiled._cache_size() == before + 1
    generate.generate(model, variables, texts(9, 2), settings)
    assert generate.compiled._cache_size() == before + 2


def test_half_precision_keeps_its_cache():
    model, variables = tiny(dtype=jnp.bfloat16)
    for beams in (1, 2):
        found = generate.generate(model, variables, texts(5, 3), Settings(max_new_tokens=4, num_beams=beams))
        assert found.scores.dtype == jnp.float32
        assert np.isfinite(found.scores).all()


@pytest.mark.parametrize("name", ["gpt2", "llama3_2_1b", "t5_small"])
def test_parameters_are_converted_once_and_not_at_each_token(monkeypatch, name):
    """In bfloat16 no loop over tokens converts a matrix, and the tokens are those of conversions in place."""
    fields = {name: value for name, value in TINY.items() if name != "max_length"}
    fields |= {"num_kv_heads": 1, "head_dim": 8} if name.startswith("llama") else {}
    model = models.create(name, **fields, dtype=jnp.bfloat16)
    variables = model.init(jax.random.key(0), model.example_input())
    settings = Settings(max_new_tokens=6, decoder_start_token_id=0 if name.startswith("t5") else None)
    matrices = {
        x.shape for path, x in jax.tree.leaves_with_path(variables) if "kernel" in str(path) or "emb" in str(path)
    }

    def run():
        return lambda variables, x: generate.search(model, variables, x, settings)  # another one is traced anew

    def converted():
        program = jax.make_jaxpr(run())(variables, x)
        body = next(e.params["body_jaxpr"] for e in program.eqns if e.primitive.name == "while")
        return set(re.findall(r"bf16\[(\d+,\d+)\] = convert_element_type", str(body)))

    x = texts(5, 3)
    wanted = {",".join(map(str, shape)) for shape in matrices}
    found = jax.jit(run())(variables, x)
    assert not converted() & wanted
    monkeypatch.setattr(decode, "converted", lambda model, variables, *_: variables)
    assert converted() & wanted, "else this test sees nothing"
    np.testing.assert_array_equal(found.tokens, jax.jit(run())(variables, x).tokens)


def test_what_is_also_read_as_it_is_stays():
    def f(variables):
        kernel, scale = variables
        return (kernel.astype(jnp.bfloat16) * 2).sum() + jax.jit(lambda x: x.astype(jnp.bfloat16))(scale) + scale.sum()

    kernel, scale = narrowed(f, (jnp.ones(3), jnp.ones(3)))
    assert (kernel.dtype, scale.dtype) == (jnp.bfloat16, jnp.float32)


def test_no_step_copies_the_keys_and_values():
    """The compiled loop over tokens moves no array of the cache's size [2, 2, 32, 8] about."""
    model, variables = tiny()
    x = {"input_ids": jnp.ones((2, 8), jnp.int32)}
    text = generate.compiled.lower(model, variables, x, Settings(max_new_tokens=24), None).compile().as_text()
    moved = re.findall(r"= f32\[([\d,]+)\]\S* (?:transpose|copy)\(", text)
    sizes = [np.prod(list(map(int, shape.split(",")))) for shape in moved]
    assert max(sizes, default=0) < 2 * 2 * 32 * 8, moved


def test_caches_of_scanned_layers_are_reordered_along_the_batch():
    cache = {"layers": {"keys": jnp.arange(24.0).reshape(3, 2, 1, 4, 1), "next": jnp.arange(3)}}
    _, twice = decode.repeat(decode.Prompt(jnp.zeros((2, 1), int), jnp.ones((2, 1), bool), {}), cache, 2)
    keys = cache["layers"]["keys"]
    np.testing.assert_array_equal(twice["layers"]["keys"], keys[:, jnp.array([0, 0, 1, 1])])
    np.testing.assert_array_equal(twice["layers"]["next"], jnp.arange(3))
    moved = decode.reorder({**cache, "seen": keys}, jnp.array([1, 0]))
    np.testing.assert_array_equal(moved["layers"]["keys"], keys[:, ::-1])
    np.testing.assert_array_equal(moved["seen"], keys)


def test_buckets():
    assert [generate.bucket(n) for n in (1, 8, 9, 33, 65, 100, 1000)] == [8, 8, 16, 40, 80, 112, 1024]
    assert all(n <= generate.bucket(n) <= 1.25 * n + 1 for n in range(32, 3000))
    assert len({generate.bucket(n) for n in range(1, 4096)}) < 40


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_beams": 0}, "num_beams=0: give a whole number from 1"),
        ({"temperature": -1.0}, "temperature=-1.0: give a number from 0"),
        ({"top_p": 0.0}, "top_p=0.0: give a number above 0"),
        ({"early_stopping": "often"}, "early_stopping='often': give True, False or 'never'"),
        ({"num_beams": 2, "do_sample": True}, "num_beams=2 with do_sample=True"),
        ({"eos_token_id": (-1,)}, "eos_token_id=.*numbers of tokens"),
    ],
)
def test_settings_out_of_range(fields, message):
    with pytest.raises(InputError, match=message):
        Settings(**fields)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"eos_token_id": (11,)}, "eos_token_id has token 11; the model's vocabulary ends at 10"),
        ({}, {"max_new_tokens": 61}, "text of 4 tokens and max_new_tokens=61 exceed the model's 64 positions"),
        ({"attention_mask": np.array([[1] * 4, [0] * 4])}, {}, "text 1 has no tokens"),
        ({"input_ids": np.full((2, 4), 12)}, {}, "input_ids has token 12"),
        ({"token_type_ids": np.zeros((2, 4))}, {}, "there is 'token_type_ids'"),
        ({}, {"do_sample": True}, "give a key"),
    ],
)
def test_bad_input_is_one_line(change, settings, message):
    model, variables = tiny()
    with pytest.raises(InputError, match=message):
        generate.generate(model, variables, {**texts(4, 3), **change}, Settings(**settings))


def test_a_classifier_generates_nothing():
    model = models.create("gpt2", 3, **TINY, head="classify")
    with pytest.raises(InputError, match="head of this one is 'classify'"):
        generate.generate(model, {}, texts(4), Settings())


MARIAN = {
    "_from_model_config": True,
    "bad_words_ids": [[58100], [0]],
    "decoder_start_token_id": 58100,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "max_length": 512,
    "num_beams": 4,
    "pad_token_id": 58100,
    "renormalize_logits": True,
    "transformers_version": "4.34.0",
}


def test_settings_of_a_translation_model():
    expected = Settings(
        max_new_tokens=511,
        eos_token_id=(0,),
        pad_token_id=58100,
        decoder_start_token_id=58100,
        num_beams=4,
        suppress_tokens=(58100,),
        forced_eos_token_id=0,
        renormalize_logits=True,
    )
    assert generate.from_config(MARIAN, encoder_decoder=True) == expected


def test_settings_of_a_chat_model_and_overrides():
    config = {"bos_token_id": 1, "eos_token_id": [7, 8], "do_sample": True, "temperature": 0.6, "max_length": 4096}
    found = generate.from_config(config, encoder_decoder=False, max_new_tokens=9, temperature=0.7)
    assert found == Settings(
        max_new_tokens=9, eos_token_id=(7, 8), pad_token_id=7, do_sample=True, temperature=0.7, top_k=50
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_beam_groups": 2}, "num_beam_groups=2, which is not possible here"),
        ({"bad_words_ids": [[1, 2]]}, r"bad_words_ids has \[1, 2\]"),
        ({"num_beams": "many"}, "num_beams='many'"),
        ({"guidance_scale": 2.0}, "guidance_scale=2.0"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(config, message):
    with pytest.raises(InputError, match=message):
        generate.from_config(config, encoder_decoder=False)


def test_neutral_fields_of_a_config_say_nothing():
    config = {
        "num_beam_groups": 1,
        "typical_p": 1.0,
        "diversity_penalty": 0.0,
        "penalty_alpha": None,
        "use_cache": True,
    }
    assert generate.from_config(config, encoder_decoder=False) == Settings()


def test_a_setting_that_does_not_exist_is_named():
    with pytest.raises(InputError, match=r"unknown setting of generation 'num_beam'; nearest: num_beams"):
        generate.from_config({}, encoder_decoder=False, num_beam=3)


def test_settings_are_read_beside_the_weights(tmp_path):
    assert generate.read(tmp_path, encoder_decoder=False, num_beams=2) == Settings(num_beams=2)
    config = {"eos_token_id": 4, "vocab_size": 11, "model_type": "gpt2", "num_beams": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert generate.read(tmp_path, encoder_decoder=False) == Settings(eos_token_id=(4,), pad_token_id=4, num_beams=3)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 5}))
    assert generate.read(tmp_path, encoder_decoder=False) == Settings(eos_token_id=(5,), pad_token_id=5)
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(InputError, match=r"generation_config\.json"):
        generate.read(tmp_path, encoder_decoder=False)


def test_settings_of_earlier_versions_have_todays_names():
    held = {"beams": 2, "no_repeat_ngram": 4, "eos": [3], "sample": False, "top_k": 5}
    today = {"num_beams": 2, "no_repeat_ngram_size": 4, "eos_token_id": [3], "do_sample": False, "top_k": 5}
    assert generate.upgrade_fields(held) == generate.upgrade_fields(today) == today
    assert generate.from_config({}, encoder_decoder=False, **today).eos_token_id == (3,)
    assert generate.from_config({}, encoder_decoder=False, eos_token_id=3).eos_token_id == (3,)


def test_the_greatest_logit_is_the_first_one():
    logits = np.random.default_rng(0).normal(size=(5, 3000)).astype(np.float32).round(1)
    logits[0], logits[1], logits[2, 7:] = 1.0, -np.inf, -np.inf
    np.testing.assert_array_equal(greatest(logits), np.argmax(logits, axis=1))
