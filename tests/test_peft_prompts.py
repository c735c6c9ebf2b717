"""Prompts and prefixes: logits and generated tokens are those of Hugging Face's PEFT, and what takes them is told."""

import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import decoders, prompts
from safetensors.numpy import load_file

from jtransfer import generate, models, peft, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.weights.adapters import save
from jtransfer.weights.adapters.load import load

PROMPTS = ["gpt2", "llama", "bert_classify", "bert_tag", "roberta_classify", "t5", "bart"]


@functools.cache
def restored(case, tmp):
    folder = tmp / case
    folder.mkdir()
    model, variables, _ = weights.restore(decoders.write(prompts.named(case), folder))
    x = prompts.inputs(case)
    return model, variables, x, peft.sites(model, variables, x)


@pytest.fixture(scope="module")
def open_case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    return lambda case: restored(case, folder)


def adapted(case, pattern, method, vectors, **fields):
    """The variables of a case with prompts or prefixes; `vectors(path, shape)` are their values."""
    _, variables, _, sites = case
    rows = [(pattern, method, {"length": prompts.LENGTH, **fields})]
    flat = trees.flatten(peft.init(jax.random.key(0), rows, sites, variables["params"]))
    filled = {path: leaf if "/fixed/" in path else vectors(path, leaf.shape) for path, leaf in flat.items()}
    return {**variables, "adapters": trees.unflatten(filled)}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_give_the_logits_of_the_reference(open_case, name):
    model, _, x, _ = case = open_case(name)
    variables = adapted(case, "embed", "prompt", lambda _, shape: prompts.vectors(shape[-1]), pooled=True)
    logits = np.asarray(jax.jit(lambda v: forward.apply(model, v, x)[0])(variables))
    theirs = prompts.load()[f"prompt {name}"]
    theirs = theirs[:, -logits.shape[1] :] if theirs.ndim == 3 else theirs
    real = x["attention_mask"].astype(bool) if logits.shape[:2] == x["input_ids"].shape else slice(None)
    real = [0] if name == "roberta_classify" else real  # theirs takes padding for tokens, where it is given embeddings
    np.testing.assert_allclose(logits[real], theirs[real], atol=1e-5)


def prefixes(path, shape, depth, seq2seq):
    """The keys or values of one attention, as PEFT has them: for each layer its keys, then its values. Of a model with
    an encoder there are twice as many, the second ones as the first, and each layer takes four, the last two in vain.
    """
    layer = int(path.split("/")[0].rpartition("_")[2])
    vectors = prompts.vectors(depth * 2 * shape[1] * shape[2]).reshape(shape[0], depth * 2, *shape[1:])
    first = 4 * layer % (2 * depth) if seq2seq else 2 * layer
    return vectors[:, first + path.endswith("values")]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bart"])
def test_prefixes_give_the_logits_of_the_reference(open_case, name):
    model, _, x, _ = case = open_case(name)
    vectors = functools.partial(prefixes, depth=model.depth, seq2seq=name == "bart")
    variables = adapted(case, "(decoder|layer)_.*/attention", "prefix", vectors)
    logits = np.asarray(jax.jit(lambda v: forward.apply(model, v, x)[0])(variables))
    real = slice(None) if name == "bart" else x["attention_mask"].astype(bool)
    np.testing.assert_allclose(logits[real], prompts.load()[f"prefix {name}"][real], atol=1e-5)


PROMPTED = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "num_transformer_submodules": 1}
PREFIXED = PROMPTED | {"peft_type": "PREFIX_TUNING", "num_layers": 2, "prefix_projection": False}
WRITTEN = {  # what PEFT's save_pretrained writes of it, and the shape of its tensor
    ("prompt", "bert_classify"): (PROMPTED | {"task_type": "SEQ_CLS", "token_dim": 32}, (3, 32)),
    ("prompt", "t5"): (PROMPTED | {"task_type": "SEQ_2_SEQ_LM", "token_dim": 32}, (3, 32)),
    ("prefix", "gpt2"): (PREFIXED | {"task_type": "CAUSAL_LM", "token_dim": 32, "num_attention_heads": 4}, (3, 128)),
    ("prefix", "llama"): (PREFIXED | {"task_type": "CAUSAL_LM", "token_dim": 16, "num_attention_heads": 2}, (3, 64)),
}


@pytest.mark.parametrize(("method", "name"), WRITTEN)
def test_they_are_written_for_peft_and_come_back(open_case, method, name, tmp_path):
    model, _, _, _ = case = open_case(name)
    if method == "prompt":
        variables = adapted(case, "embed", "prompt", lambda _, shape: prompts.vectors(shape[-1]), pooled=True)
    else:
        vectors = functools.partial(prefixes, depth=model.depth, seq2seq=False)
        variables = adapted(case, "layer_.*/attention", "prefix", vectors)
    save.save(tmp_path, model, variables, beside=["head/dense/bias"] if name.startswith("bert") else ())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    told, shape = WRITTEN[method, name]
    assert {key: config.get(key) for key in told} == told
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    np.testing.assert_array_equal(tensors.pop("prompt_embeddings"), prompts.vectors(shape[1]))
    assert tensors.keys() == ({f"base_model.classifier.{x}" for x in ("weight", "bias")} if name[0] == "b" else set())
    back = trees.flatten(load(tmp_path, model).adapters)
    own = trees.flatten(variables["adapters"])
    assert back.keys() == own.keys()
    assert all(np.array_equal(back[path], own[path]) for path in own)


@pytest.mark.parametrize(
    ("name", "pattern", "method", "fields", "says"),
    [
        (
            "bert_classify",
            "embed",
            "prompt",
            {},
            "'pooled': True.* these differ in pool/prompt/fixed/cut",
        ),
        ("gpt2", "layer_0/attention", "prefix", {}, "these differ in layer_1/attention/prefix/keys"),
        ("gpt2", "layer_.*/attention", "prefix", {"positions": False}, "these differ in embed/prefix/fixed/places"),
        ("bart", "encoder_0/attention", "prefix", {}, "of a model with an encoder and a decoder"),
    ],
)
def test_what_peft_has_not_of_them_is_one_line(open_case, name, pattern, method, fields, says, tmp_path):
    case = open_case(name)
    variables = adapted(case, pattern, method, lambda _, shape: np.ones(shape, np.float32), **fields)
    with pytest.raises(InputError, match=says):
        save.save(tmp_path, case[0], variables)


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_a_text_that_is_generated_with_a_prefix_is_what_the_logits_of_the_whole_text_say(open_case, name):
    model, _, x, _ = case = open_case(name)
    vectors = functools.partial(prefixes, depth=model.depth, seq2seq=name == "bart")
    variables = adapted(case, "(decoder|layer)_.*/attention", "prefix", vectors)
    given = {key: jnp.asarray(x[key]) for key in ("input_ids", "attention_mask")}
    settings = generate.Settings(max_new_tokens=6, pad_token_id=0, decoder_start_token_id=2)
    tokens = generate.generate(model, variables, given, settings).tokens
    first = given["input_ids"] if name == "gpt2" else jnp.full((3, 1), 2, jnp.int32)
    whole = jnp.concatenate([first, tokens], axis=1)[:1]  # the first text has no padding
    texts = (
        {"input_ids": whole} if name == "gpt2" else {"input_ids": given["input_ids"][:1], "decoder_input_ids": whole}
    )
    logits = jax.jit(lambda v: forward.apply(model, v, texts)[0])(variables)
    np.testing.assert_array_equal(tokens[0], logits[0, first.shape[1] - 1 : -1].argmax(-1))


def test_the_count_of_a_prefix_of_bert_base_is_the_reference_s():
    model = models.create("bert_base", 2)
    x = model.example_input()
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    sites = peft.sites(model, variables, x)
    rows = [(".*/attention", "prefix", {"length": 20}), ("embed", "prompt", {"length": 20})]
    made = jax.eval_shape(lambda params: peft.init(jax.random.key(1), rows, sites, params), variables["params"])
    sizes = {path: leaf.size for path, leaf in trees.flatten(made).items() if "/fixed/" not in path}
    assert sum(size for path, size in sizes.items() if "/prefix/" in path) == 370_178 - 1_538
    assert sum(size for path, size in sizes.items() if "/prompt/" in path) == 16_898 - 1_538


def test_prompts_cannot_be_generated_from_and_say_so(open_case):
    model, _, x, _ = case = open_case("gpt2")
    variables = adapted(case, "embed", "prompt", lambda _, shape: jnp.ones(shape))
    with pytest.raises(InputError, match="'prompt' can't be used token by token; 'prefix' can"):
        generate.generate(model, variables, x, generate.Settings(max_new_tokens=2, pad_token_id=0))


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_texts_that_leave_no_room_are_told(open_case, method):
    model, _, _, _ = case = open_case("gpt2")
    pattern = {"prompt": "embed", "prefix": ".*/attention"}[method]
    variables = adapted(case, pattern, method, lambda _, shape: jnp.ones(shape))
    x = {"input_ids": jnp.ones((1, 62), jnp.int32)}
    with pytest.raises(InputError, match=r"62 tokens with 3 places .* more than the model's 64 positions; .* to 61"):
        jax.eval_shape(lambda v: forward.apply(model, v, x)[0], variables)


def test_a_prompt_sees_no_text_of_several_that_are_packed_together(open_case):
    model, _, _, _ = case = open_case("bert_tag")
    variables = jax.device_put(adapted(case, "embed", "prompt", lambda _, shape: prompts.vectors(shape[-1])))
    run = jax.jit(lambda x: forward.apply(model, variables, x)[0])
    ids = jnp.arange(2, 8)[None]
    whole = jnp.ones((1, 6), bool)
    block = jnp.kron(jnp.eye(2), jnp.ones((3, 3)))[None].astype(bool)
    positions = jnp.asarray([[0, 1, 2, 0, 1, 2]])
    packed = run({"input_ids": ids, "attention_mask": block, "position_ids": positions})
    alone = run(
        {"input_ids": ids[:, :3], "attention_mask": jnp.ones((1, 3, 3), bool), "position_ids": positions[:, :3]}
    )
    np.testing.assert_allclose(packed[:, :3], alone, atol=1e-5)
    assert np.abs(run({"input_ids": ids, "attention_mask": whole})[:, :3] - alone).max() > 1e-3


class Fixed(nn.Module):
    """A user's module with attention of Flax."""

    @nn.compact
    def __call__(self, x):
        mask = nn.make_causal_mask(x[..., 0])
        x = nn.MultiHeadDotProductAttention(2, qkv_features=8, name="attention")(x, mask=mask)
        return nn.MultiHeadAttention(2, name="further")(x)


def test_attention_of_flax_takes_a_prefix():
    model, x = Fixed(), jax.random.normal(jax.random.key(0), (2, 5, 6))
    variables = model.init(jax.random.key(1), x)
    sites = peft.sites(model, variables, x)
    rows = [("attention|further", "prefix", {"length": 3})]
    adapters = peft.init(jax.random.key(2), rows, sites, variables["params"])
    assert adapters["attention"]["prefix"]["keys"].shape == (3, 2, 4)
    y, _ = forward.apply(model, {**variables, "adapters": adapters}, x)

    def attended(name, x, causal):
        own, prefix = variables["params"][name], adapters[name]["prefix"]
        q, k, v = (jnp.einsum("bnd,dhe->bnhe", x, own[n]["kernel"]) + own[n]["bias"] for n in ("query", "key", "value"))
        k, v = (jnp.concatenate([jnp.stack([prefix[n]] * 2), a], 1) for n, a in (("keys", k), ("values", v)))
        logits = jnp.einsum("bnhe,bmhe->bhnm", q, k) * q.shape[-1] ** -0.5
        seen = jnp.tri(5, 8, 3) if causal else jnp.ones((5, 8))
        weights = jax.nn.softmax(jnp.where(seen, logits, -jnp.inf))
        z = jnp.einsum("bhnm,bmhe->bnhe", weights, v)
        return jnp.einsum("bnhe,hed->bnd", z, own["out"]["kernel"]) + own["out"]["bias"]

    np.testing.assert_allclose(y, attended("further", attended("attention", x, True), False), atol=1e-5)
