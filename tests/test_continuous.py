"""Continuous batching: the tokens of batches, in fewer steps and few programs; draws that know no neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import generate, models
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.generate import Settings, continuous, decode
from jtransfer.modalities.returned import Writing
from jtransfer.runs import written as written_of_run

TINY = {"vocab_size": 11, "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24}
LENGTHS = (3, 12, 5, 9, 1, 17, 4)
PROMPTS = [np.random.Generator(np.random.Philox(key=n)).integers(1, 11, n) for n in LENGTHS]


def tiny(name="gpt2", **fields):
    model = models.create(name, **TINY, **fields)
    variables = model.init(jax.random.key(0), model.example_input())
    return model, jax.tree.map(lambda x: 5 * x, variables)  # so that its likeliest tokens are likely


def written(*args, **kwargs):
    """The texts in the order of the prompts, each of which has one."""
    found = list(generate.stream(*args, **kwargs))
    assert sorted(i for i, _ in found) == list(range(len(found)))
    return [tokens.tolist() for _, tokens in sorted(found, key=lambda pair: pair[0])]


RULES = {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 2, "forced_bos_token_id": 7}


@pytest.mark.parametrize(
    ("model", "settings", "slots"),
    [
        (("gpt2", {"max_length": 30}), {}, 3),
        (("gpt2", {"max_length": 30}), RULES, 5),
        (("llama3_2_1b", {"num_kv_heads": 1, "head_dim": 8, "window": 6}), {}, 3),
    ],
)
def test_the_tokens_are_those_of_each_prompt_alone(model, settings, slots):
    model, variables = tiny(model[0], **model[1])
    settings = Settings(max_new_tokens=12, eos_token_id=(3, 4), pad_token_id=0, **settings)
    width = max(LENGTHS)
    inputs = {
        "input_ids": np.stack([np.pad(prompt, (width - len(prompt), 0)) for prompt in PROMPTS]),
        "attention_mask": np.stack([np.arange(width) >= width - len(prompt) for prompt in PROMPTS]),
    }
    alone = generate.generate(model, variables, inputs, settings)
    expected = [row[:n].tolist() for row, n in zip(np.asarray(alone.tokens), np.asarray(alone.lengths), strict=True)]
    assert len({len(row) for row in expected}) > 2, "else this test sees nothing"
    assert written(model, variables, PROMPTS, settings, slots=slots) == expected


def test_draws_depend_on_the_prompts_number_and_not_on_its_slot():
    model, variables = tiny()
    settings = Settings(max_new_tokens=12, eos_token_id=(3,), do_sample=True, temperature=3.0, top_k=9)
    first, other = jax.random.key(1), jax.random.key(2)
    found = [written(model, variables, PROMPTS, settings, first, slots=slots) for slots in (1, 3, 16)]
    assert found[0] == found[1] == found[2]
    assert found[0] != written(model, variables, PROMPTS, settings, other, slots=3)
    same = written(model, variables, [PROMPTS[0]] * 4, settings, first, slots=3)
    assert same[0] == found[0][0]
    assert len(set(map(tuple, same))) > 1


def counting(end):
    """A model of which each token is followed by its successor, up to `end`; no layer adds anything."""
    model = models.create("gpt2", vocab_size=end + 1, width=64, depth=1, num_heads=1, mlp_dim=8, tied=False)
    variables = model.init(jax.random.key(0), model.example_input())
    params = jax.tree.map(jnp.zeros_like, variables["params"])
    params["embed"]["tokens"]["embedding"] = jnp.eye(end + 1, 64)
    params["norm"]["norm"]["scale"] = jnp.ones(64)
    params["head"]["dense"]["kernel"] = jnp.eye(64, end + 1, 1)
    return model, {"params": params}


def test_a_slot_is_filled_as_soon_as_its_text_has_ended(monkeypatch):
    """Of 8 texts in 2 slots, 2 have 41 tokens and 6 have 3.

    The first token of a text comes with its prompt, so that a text of k tokens takes k - 1 steps. Batches of 2, two of
    which have a long text, take 40 + 2 + 40 + 2 = 84 steps. In slots, 3 short texts take 6 of the 40 steps beside the
    first long one; the other long one begins then, and has 34 of its 40 steps beside it. The 3 short ones that are left
    take 6 steps in all, beside its last 6. So there are 46 steps.
    """
    steps = []
    plain = decode.step

    def step(*args):
        jax.debug.callback(lambda: steps.append(1))
        return plain(*args)

    monkeypatch.setattr(continuous.decode, "step", step)
    model, variables = counting(50)
    last = [9, 47, 47, 47, 9, 47, 47, 47]  # the prompts' last tokens, so that texts have 41, 3, 3, 3, 41, 3, 3, 3
    prompts = [[5] * (i % 3) + [token] for i, token in enumerate(last)]
    settings = Settings(max_new_tokens=45, eos_token_id=(50,))
    found = written(model, variables, prompts, settings, slots=2)
    jax.effects_barrier()
    assert found == [list(range(token + 1, 51)) for token in last]
    assert len(steps) == 46


def test_predictions_are_in_order_however_many_at_once():
    """A run's texts for 8 examples of 2 at once, in slots, equal those of 8 at once."""
    model, variables = counting(50)
    names, mesh = (
        ["9", "47", "30", "49", "9", "46", "7", "48"],
        sharding.make_mesh({sharding.DATA: 1}, jax.devices()[:1]),
    )
    variables = jax.tree.map(sharding.place, variables, sharding.of_params(variables, mesh, "replicate"))

    def inputs(given):
        ids = np.array([[0, int(name)] for name in given], np.int32)
        return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int32)}

    def decoded(tokens, lengths):
        return np.array([" ".join(map(str, row[:n])) for row, n in zip(tokens, lengths, strict=True)])

    how = Writing(Settings(max_new_tokens=45, eos_token_id=(50,)), inputs, decoded)
    before = continuous._fill._cache_size()
    for size in (2, 8):
        found = list(written_of_run.texts(model, variables, how, names, size, jax.random.key(0), mesh))
        assert found == [" ".join(map(str, range(int(name) + 1, 51))) for name in names]
    assert continuous._fill._cache_size() == before + 1


def test_few_programs_for_many_lengths():
    model, variables = tiny(max_length=64, eps=1e-4)
    settings = Settings(max_new_tokens=3)
    before = continuous._fill._cache_size(), continuous._decode._cache_size()
    for lengths in (range(1, 17), (2, 11, 16), (16, 5)):
        written(model, variables, [[1] * n for n in lengths], settings, slots=4)
    assert continuous._fill._cache_size() == before[0] + 2, "prompts of up to 8 and of up to 16 tokens"
    assert continuous._decode._cache_size() == before[1] + 1


@pytest.mark.parametrize(
    ("prompts", "change", "message"),
    [
        ([[1], []], {}, "text 1 has no tokens"),
        ([[1, 11]], {}, "input_ids has token 11"),
        ([[1] * 20, [1]], {"max_new_tokens": 11}, "text of 20 tokens and max_new_tokens=11 exceed the model's 30"),
        ([[1]], {"num_beams": 2}, "without num_beams"),
        ([[1]], {"do_sample": True}, "give a key"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_computed(prompts, change, message):
    model = models.create("gpt2", **TINY, max_length=30)
    with pytest.raises(InputError, match=message):
        generate.stream(model, {}, prompts, Settings(**change))


def test_no_encoder_and_no_slots():
    with pytest.raises(InputError, match="decoders without an encoder"):
        generate.stream(models.create("t5_small"), {}, [[1]], Settings())
    with pytest.raises(InputError, match="slots=0"):
        generate.stream(models.create("gpt2", **TINY), {}, [[1]], Settings(), slots=0)
    assert list(generate.stream(models.create("gpt2", **TINY), {}, [], Settings())) == []
