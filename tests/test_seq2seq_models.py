"""T5, BART, mBART and Marian: their stages, their cache, and logits equal to those of transformers."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import seq2seq
from safetensors.numpy import load_file, save_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.weights import libraries, maps
from jtransfer.weights.maps import bart

TINY = {"vocab_size": 31, "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24}
T5 = {**TINY, "head_dim": 6, "num_buckets": 6, "max_distance": 6}
BART = {**TINY, "max_length": 16, "decoder_depth": 1}
NAMES = {
    "t5_small": T5,
    "flan_t5_base": T5,
    "bart_base": BART,
    "mbart_large": BART,
    "marian": {**BART, "pad": 30, "start": 30},
}
FEW = ("flan_t5_base", "mbart_large", "marian")


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
        assert {len(leaf) for leaf in jax.tree.leaves(before)} == {3}  # so that it can be kept for each text
        np.testing.assert_array_equal(model.apply(variables, before, start=stage), whole)


def test_parameters_are_the_stages_and_the_embedding_is_one(name):
    model, variables = tiny(name)
    assert set(variables["params"]) <= set(model.stages)
    embeddings = [path for path in trees.flatten(variables["params"]) if path.endswith("embedding")]
    assert embeddings == ["embed/tokens/embedding"]


def test_parameter_counts_are_the_published_ones():
    counts = {"t5_small": 60_506_624, "flan_t5_small": 76_961_152, "mt5_small": 300_176_768, "bart_base": 139_420_416}
    for name, count in counts.items():
        model = models.create(name)
        shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input())
        bias = model.vocab_size if name == "bart_base" else 0  # not counted there
        assert trees.count(shapes) == count + bias


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


@pytest.mark.parametrize("name", FEW, indirect=True)
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


@pytest.mark.parametrize("name", FEW, indirect=True)
def test_padding_of_the_encoder_changes_nothing(name):
    model, variables = tiny(name)
    given = inputs()
    longer = {key: np.pad(given[key], ((0, 0), (0, 3))) for key in ("input_ids", "attention_mask")}
    whole = model.apply(variables, given)
    np.testing.assert_allclose(model.apply(variables, {**given, **longer}), whole, atol=1e-5)
    longer["input_ids"] = longer["input_ids"] + 5 * (1 - longer["attention_mask"])
    np.testing.assert_allclose(model.apply(variables, {**given, **longer}), whole, atol=1e-5)


@pytest.mark.parametrize("name", FEW, indirect=True)
def test_no_token_sees_a_later_one(name):
    model, variables = tiny(name)
    given = inputs()
    del given["decoder_attention_mask"]
    whole = model.apply(variables, given)
    ids = given["decoder_input_ids"].copy()
    ids[:, 3] = (ids[:, 3] + 1) % 31
    changed = model.apply(variables, {**given, "decoder_input_ids": ids}) != whole
    np.testing.assert_array_equal(changed.any(axis=(0, 2)), np.arange(5) >= 3)


@pytest.mark.parametrize("name", FEW, indirect=True)
def test_dropout_is_of_training_and_of_all_parts(name):
    model, variables = tiny(name)
    whole = model.apply(variables, inputs())
    norms = [stage for stage in model.stages if name == "mbart_large" and stage.endswith("norm")]
    for start in set(model.stages[:-1]) - set(norms):
        before = model.apply(variables, inputs(), stop=start)
        rngs = {"dropout": jax.random.key(1)}
        found = model.apply(variables, before, start=start, train=True, rngs=rngs)
        assert not np.allclose(found, whole)


@pytest.mark.parametrize("name", FEW, indirect=True)
def test_gradients_reach_every_parameter(name):
    model, variables = tiny(name)
    given = inputs(12, 9)

    @jax.jit
    @jax.grad
    def gradient(variables):
        return jnp.sin(model.apply(variables, given)).sum()

    unused = [path for path, leaf in trees.flatten(gradient(variables)).items() if not np.any(leaf)]
    assert not [path for path in unused if not path.endswith("key/bias")]  # these change no attention weights


@pytest.mark.parametrize("name", FEW, indirect=True)
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


def test_an_unknown_head_is_named():
    with pytest.raises(InputError, match="unknown head 'embeded'; nearest: embed"):
        models.create("t5_small", head="embeded").stages  # noqa: B018


def test_an_unknown_activation_is_named():
    with pytest.raises(InputError, match="unknown activation 'relo'; nearest: relu"):
        models.create("marian", activation="relo").stages  # noqa: B018


@functools.cache
def forward(model):
    return jax.jit(model.apply)


def assert_logits(model, variables, stored):
    for n, k in seq2seq.LENGTHS:
        given = seq2seq.inputs(n, k)
        seen = given["decoder_attention_mask"].astype(bool)
        logits = forward(model)(variables, given)
        np.testing.assert_allclose(logits[seen], stored[f"logits {n}"][seen], rtol=0, atol=1e-4)


@pytest.fixture(scope="module", params=seq2seq.cases())
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return seq2seq.write(case, tmp_path_factory.mktemp(case))


def test_logits_equal_transformers(case, folder):
    model, variables, report = weights.restore(folder)
    assert (report.reinitialised, report.ignored) == ((), ())
    assert_logits(model, variables, seq2seq.load(case)[1])


def test_what_is_saved_is_what_was_there(folder, tmp_path):
    model, variables, _ = weights.restore(folder)
    weights.save(variables, model, tmp_path / "model.safetensors")
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_the_config_that_is_written_says_what_was_read(case, folder, tmp_path):
    model, variables, _ = weights.restore(folder)
    config = libraries.transformers(case, model, ())
    assert config["architectures"] == [
        seq2seq.load(case)[0]["config"]["architectures"][0].removeprefix("M" * (case == "mt5"))
    ]
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights.save(variables, model, tmp_path / "model.safetensors")
    again = weights.describe(tmp_path).model
    assert again == model


def test_an_encoder_alone_equals_transformers(tmp_path):
    folder = seq2seq.write("t5_encoder", tmp_path)
    model, variables, report = weights.restore(folder)
    assert (model.head, report.reinitialised, report.ignored) == ("embed", (), ())
    for n, k in seq2seq.LENGTHS:
        given = {name: array for name, array in seq2seq.inputs(n, k).items() if not name.startswith("decoder_")}
        stored, seen = seq2seq.load("t5_encoder")[1][f"logits {n}"], given["attention_mask"].astype(bool)
        found = model.apply(variables, given, stop="pool")["x"]
        np.testing.assert_allclose(found[seen], stored[seen], rtol=0, atol=1e-4)
        embedding = model.apply(variables, given)
        means = np.stack([row[mask].mean(axis=0) for row, mask in zip(stored, seen, strict=True)])
        np.testing.assert_allclose(embedding, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
    weights.save(variables, model, tmp_path / "again.safetensors")
    ours, theirs = load_file(tmp_path / "again.safetensors"), load_file(folder / "model.safetensors")
    assert ours.keys() == theirs.keys()
    config = maps.family(model).transformers(model)
    assert config["architectures"] == ["T5EncoderModel"]
    assert maps.family(model).STATED["t5"][0](config)["head"] == "embed"


@pytest.mark.parametrize(("head", "shape"), [("classify", (3, 5)), ("tag", (3, 7, 5))])
def test_the_encoder_of_a_translator_becomes_a_classifier(head, shape, tmp_path):
    model, variables, report = weights.restore(seq2seq.write("t5", tmp_path), head=head, num_classes=5)
    assert {path for path, _ in report.reinitialised} == {"head/dense/kernel", "head/dense/bias"}
    assert all(name.startswith("decoder.") for name, _ in report.ignored)
    given = {name: array for name, array in inputs().items() if not name.startswith("decoder_")}
    whole = model.apply(variables, given)
    assert (whole.shape, whole.dtype) == (shape, jnp.float32)
    for stage in model.stages:
        before = model.apply(variables, given, stop=stage)
        np.testing.assert_array_equal(model.apply(variables, before, start=stage), whole)


def rewritten(case, folder, change=dict, **config):
    """The case's folder with its tensors and its config changed; None removes a field."""
    seq2seq.write(case, folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    stated = json.loads((folder / "config.json").read_text()) | config
    stated = {key: value for key, value in stated.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(stated))
    return folder


COPIES = {
    "t5": ("shared.weight", ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")),
    "flan_t5": ("shared.weight", ("decoder.embed_tokens.weight",)),
    "bart": ("model.shared.weight", ("model.decoder.embed_tokens.weight", "lm_head.weight")),
}


@pytest.mark.parametrize("case", COPIES, ids=str)
def test_copies_of_the_embedding_must_be_equal(case, tmp_path):
    original, copies = COPIES[case]

    def with_copies(change):
        return lambda tensors: tensors | {name: tensors[original] + change * (name == copies[-1]) for name in copies}

    model, variables, report = weights.restore(rewritten(case, tmp_path, with_copies(0)))
    assert (report.reinitialised, report.ignored) == ((), ())
    assert_logits(model, variables, seq2seq.load(case)[1])
    with pytest.raises(InputError, match=f"{copies[-1]} is not {original}"):
        weights.restore(rewritten(case, tmp_path, with_copies(1)))


def test_configs_before_version_5_tell_of_the_head_by_tying_alone(tmp_path):
    untied = rewritten("flan_t5", tmp_path, tie_word_embeddings=False, scale_decoder_outputs=None)
    model, variables, _ = weights.restore(untied)
    assert (model.tied, model.scaled) == (False, False)
    assert_logits(model, variables, seq2seq.load("flan_t5")[1])
    model, variables, _ = weights.restore(rewritten("t5", tmp_path, scale_decoder_outputs=None))
    assert (model.tied, model.scaled) == (True, True)
    assert_logits(model, variables, seq2seq.load("t5")[1])


def test_old_files_of_marian_hold_the_sinusoids_too(tmp_path):
    def old(tensors):
        names = [f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")]
        return tensors | {name: np.ones((16, 32), np.float32) for name in names}

    model, variables, report = weights.restore(rewritten("marian", tmp_path, old))
    assert len(report.ignored) == 2
    assert_logits(model, variables, seq2seq.load("marian")[1])


def test_files_of_a_model_without_a_head_start_with_a_bias_of_zeros(tmp_path):
    def base(tensors):
        return {name.removeprefix("model."): array for name, array in tensors.items() if "logits" not in name}

    _, variables, report = weights.restore(rewritten("bart", tmp_path, base, architectures=["BartModel"]))
    assert report.reinitialised == (("head/bias", "the source has no head"),)
    assert not variables["params"]["head"]["bias"].any()


@pytest.mark.parametrize(
    ("case", "config", "message"),
    [
        ("t5", {"feed_forward_proj": "gated-silu"}, "feed_forward_proj='gated-silu'.*'gated-gelu'"),
        ("bart", {"activation_function": "mish"}, "activation_function='mish'.*gelu"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings=False"),
        ("t5", {"num_heads": None}, "lacks 'num_heads'"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(tmp_path, case, config, message):
    with pytest.raises(InputError, match=message):
        weights.restore(rewritten(case, tmp_path, **config))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("marian", {"pre_norm": True}, "no encoder–decoder with .*'pre_norm': True"),
        ("t5_small", {"attention_dropout": 0.0}, "one rate of dropout"),
        ("t5_small", {"tied": False}, "scaled=False"),
        ("t5_small", {"head": "tag"}, "no head like this model's, 'tag'"),
        ("marian", {"vocab_size": 31}, "pad=58100 is no token"),
    ],
)
def test_what_transformers_does_not_have_is_not_exported(name, fields, message):
    model = models.create(name, **fields)
    with pytest.raises(InputError, match=message):
        maps.family(model).transformers(model)


LIVE = """
import sys
import numpy as np
import torchvision_stubs, torch, transformers
for folder, architecture in zip(sys.argv[1::2], sys.argv[2::2]):
    model, info = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    inputs = {name: torch.from_numpy(array).long() for name, array in np.load(folder + "/inputs.npz").items()}
    with torch.no_grad():
        np.save(folder + "/logits.npy", model.eval()(**inputs).logits.numpy())
"""


@pytest.mark.live
def test_transformers_loads_what_is_exported(tmp_path):
    command = [sys.executable, "-c", LIVE]
    for name in NAMES:
        model, variables = tiny(name)
        folder = tmp_path / name
        folder.mkdir()
        config = libraries.transformers(name, model, ())
        (folder / "config.json").write_text(json.dumps(config))
        weights.save(variables, model, folder / "model.safetensors")
        np.savez(folder / "inputs.npz", **inputs())
        command += [str(folder), config["architectures"][0]]
    subprocess.run(command, check=True, cwd=Path(__file__).parent, capture_output=True)
    seen = inputs()["decoder_attention_mask"].astype(bool)
    for name in NAMES:
        model, variables = tiny(name)
        found = np.load(tmp_path / name / "logits.npy")
        np.testing.assert_allclose(found[seen], model.apply(variables, inputs())[seen], rtol=0, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_all_text_models_are_those_of_bart(activation):
    model = models.create("bart_base", activation=activation, **BART)
    stated = bart.transformers(model)
    assert bart.STATED["bart"][0](stated)["activation"] == activation
    assert models.create("bart_base", activation=activation, **BART).stages
