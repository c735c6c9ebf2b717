"""GPT-2 and the Llama kin: logits equal those of transformers, from folders as it writes them, and back."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import decoders
from safetensors.numpy import load_file, save_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import gpt2, llama
from jtransfer.weights import libraries, maps

CASES = sorted(path.stem for path in decoders.FOLDER.glob("*.npz") if path.stem not in ("t5", "bart", "marian"))
TINY = {"vocab_size": 31, "max_length": 32, "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24}


@functools.cache
def forward(model):
    return jax.jit(lambda variables, inputs: model.apply(variables, inputs))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return decoders.write(case, tmp_path_factory.mktemp(case))


def tiny(name, **fields):
    grouped = {} if name == "gpt2" else {"num_kv_heads": 1, "head_dim": 8}
    model = models.create(name, 5, **TINY, **grouped, **fields)
    return model, model.init(jax.random.key(0), model.example_input())


def test_logits_equal_transformers(folder, case):
    model, variables, report = weights.restore(folder)
    assert not report.reinitialised
    spec, arrays = decoders.load(case)
    for length in decoders.LENGTHS:
        ids, mask = decoders.texts(length, spec["config"]["vocab_size"])
        logits = forward(model)(variables, {"input_ids": ids, "attention_mask": mask})
        seen = mask.astype(bool) if logits.ndim == 3 else slice(None)
        assert logits.dtype == jnp.float32
        np.testing.assert_allclose(logits[seen], arrays[f"logits {length}"][seen], rtol=0, atol=1e-4)


def test_what_is_saved_is_what_was_there(folder, case, tmp_path):
    model, variables, _ = weights.restore(folder)
    weights.save(variables, model, tmp_path / "model.safetensors")
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_the_config_that_is_written_says_what_was_read(folder, case, tmp_path):
    model, _, _ = weights.restore(folder)
    stated, written = decoders.load(case)[0]["config"], maps.family(model).transformers(model)
    assert (written["model_type"], written["architectures"]) == (stated["model_type"], stated["architectures"])
    reader, _ = maps.family(model).STATED[written["model_type"]]
    assert reader(written) == reader(stated)


def test_parameter_counts_are_the_published_ones():
    counts = {
        "gpt2": 124_439_808,
        "gpt2_medium": 354_823_168,
        "gpt2_large": 774_030_080,
        "gpt2_xl": 1_557_611_200,
        "distilgpt2": 81_912_576,
        "llama2_7b": 6_738_415_616,
        "llama3_8b": 8_030_261_248,
        "llama3_1_8b": 8_030_261_248,
        "llama3_2_1b": 1_235_814_400,
        "llama3_2_3b": 3_212_749_824,
        "tinyllama_1b": 1_100_048_384,
        "smollm2_135m": 134_515_008,
        "qwen2_0_5b": 494_032_768,
        "qwen2_1_5b": 1_543_714_304,
        "qwen2_7b": 7_615_616_512,
        "qwen3_0_6b": 596_049_920,
        "mistral_7b": 7_241_732_096,
        "gemma_2b": 2_506_172_416,
        "gemma_7b": 8_537_680_896,
        "gemma2_2b": 2_614_341_888,
    }
    assert set(counts) == {*gpt2.MODELS, *llama.MODELS}

    def parameters(name, depth):
        model = models.create(name, depth=depth)
        return trees.count(jax.eval_shape(model.init, jax.random.key(0), model.example_input()))

    for name, count in counts.items():
        one, two = parameters(name, 1), parameters(name, 2)
        assert one + (models.create(name).depth - 1) * (two - one) == count, name


def test_dropout_is_of_training_alone():
    model, variables = tiny("gpt2")
    inputs, rngs = {"input_ids": decoders.texts(7, 31)[0]}, {"dropout": jax.random.key(1)}
    logits = model.apply(variables, inputs)
    assert not np.allclose(model.apply(variables, inputs, train=True, rngs=rngs), logits)
    still = models.create("gpt2", **TINY, dropout=0.0, attention_dropout=0.0)
    np.testing.assert_array_equal(still.apply(variables, inputs, train=True, rngs=rngs), logits)


@pytest.mark.parametrize("name", ["gpt2", "gemma2_2b"])
@pytest.mark.parametrize("head", ["lm", "classify"])
def test_stages_in_two_parts_give_the_whole(name, head):
    model, variables = tiny(name, head=head)
    ids, mask = decoders.texts(7, 31)
    inputs = {"input_ids": ids, "attention_mask": mask}
    whole = model.apply(variables, inputs)
    assert whole.shape == ((3, 7, 31) if head == "lm" else (3, 5))
    for stage in model.stages:
        before = model.apply(variables, inputs, stop=stage)
        assert {len(leaf) for leaf in jax.tree.leaves(before)} == {3}  # so that parts of batches can be kept
        np.testing.assert_array_equal(model.apply(variables, before, start=stage), whole)


def test_a_tied_embedding_is_one_parameter_with_both_gradients():
    model, variables = tiny("gpt2")
    untied, more = tiny("gpt2", tied=False)
    assert trees.count(more) - trees.count(variables) == 31 * 16
    assert "head" not in variables["params"]
    embedding = variables["params"]["embed"]["tokens"]["embedding"]
    both = {"params": {**variables["params"], "head": {"dense": {"kernel": embedding.T}}}}
    inputs = {"input_ids": decoders.texts(7, 31)[0]}

    def gradient(model, variables):
        return jax.grad(lambda v: jnp.sin(model.apply(v, inputs)).sum())(variables)["params"]

    tied, parts = gradient(model, variables), gradient(untied, both)
    total = parts["embed"]["tokens"]["embedding"] + parts["head"]["dense"]["kernel"].T
    np.testing.assert_allclose(tied["embed"]["tokens"]["embedding"], total, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "mistral_7b"])
def test_no_token_sees_a_later_one(name):
    model, variables = tiny(name)
    ids = jnp.asarray(decoders.texts(7, 31)[0][:1])
    changed = model.apply(variables, {"input_ids": ids.at[0, 4].add(1) % 31}) != model.apply(
        variables, {"input_ids": ids}
    )
    np.testing.assert_array_equal(changed[0].any(axis=-1), np.arange(7) >= 4)


@pytest.mark.parametrize("name", ["gpt2", "qwen2_0_5b"])
def test_padding_on_the_right_changes_no_class(name):
    model, variables = tiny(name, head="classify")
    ids, mask = decoders.texts(7, 31)
    more = {"input_ids": np.pad(ids, ((0, 0), (0, 3))), "attention_mask": np.pad(mask, ((0, 0), (0, 3)))}
    logits = model.apply(variables, {"input_ids": ids, "attention_mask": mask})
    np.testing.assert_allclose(model.apply(variables, more), logits, atol=1e-6)


def rewritten(case, folder, change, **config):
    """The case's folder with its tensors and config changed."""
    decoders.write(case, folder)
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors")
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, **config}))
    return folder


def logits_of(folder, **fields):
    model, variables, report = weights.restore(folder, **fields)
    ids, mask = decoders.texts(7, 61)
    return forward(model)(variables, {"input_ids": ids, "attention_mask": mask})[mask.astype(bool)], report


def stored(case):
    _, mask = decoders.texts(7, 61)
    return decoders.load(case)[1]["logits 7"][mask.astype(bool)]


def test_a_tied_head_may_be_stated_if_it_is_the_embedding(tmp_path):
    def stated(tensors):
        return {**tensors, "lm_head.weight": tensors["transformer.wte.weight"]}

    folder = rewritten("gpt2", tmp_path, stated)
    np.testing.assert_allclose(logits_of(folder)[0], stored("gpt2"), atol=1e-4)
    rewritten(
        "gpt2", tmp_path, lambda tensors: {**stated(tensors), "lm_head.weight": tensors["transformer.wte.weight"] + 1}
    )
    with pytest.raises(InputError, match=r"lm_head\.weight is not transformer\.wte\.weight"):
        weights.restore(folder)
    model, _, _ = weights.restore(folder, tied=False)
    assert not model.tied


def test_files_of_a_model_without_a_head_and_old_buffers(tmp_path):
    def old(tensors):
        plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        masks = {f"h.{i}.attn.bias": np.ones((1, 1, 64, 64), np.float32) for i in range(2)}
        return plain | masks | {"h.0.attn.masked_bias": np.array(-1e4, np.float32)}

    logits, report = logits_of(rewritten("gpt2", tmp_path, old, architectures=["GPT2Model"]))
    np.testing.assert_allclose(logits, stored("gpt2"), atol=1e-4)
    assert {name for name, _ in report.ignored} == {"h.0.attn.bias", "h.1.attn.bias", "h.0.attn.masked_bias"}


def test_frequencies_in_old_files_are_ignored_and_a_head_is_drawn_where_there_is_none(tmp_path):
    def old(tensors):
        plain = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if "lm_head" not in name}
        return plain | {"layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}

    _, report = logits_of(rewritten("llama", tmp_path, old, architectures=["LlamaModel"]))
    assert report.reinitialised == (("head/dense/kernel", "the source has no head"),)
    assert [name for name, _ in report.ignored] == ["layers.0.self_attn.rotary_emb.inv_freq"]


def test_bfloat16_in_shards(tmp_path):
    import ml_dtypes

    folder = decoders.write("llama3", tmp_path, ml_dtypes.bfloat16)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, where = sorted(tensors), {}
    for i, part in enumerate((names[::2], names[1::2]), 1):
        save_file({name: tensors[name] for name in part}, folder / f"model-0000{i}-of-00002.safetensors")
        where |= dict.fromkeys(part, f"model-0000{i}-of-00002.safetensors")
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    logits, report = logits_of(folder)
    assert not report.reinitialised
    np.testing.assert_allclose(logits, stored("llama3"), atol=0.15)


@pytest.mark.parametrize("name", ["gpt2", "llama3", "gemma2"])
def test_bfloat16_computation_is_near(tmp_path, name):
    logits, _ = logits_of(decoders.write(name, tmp_path), dtype=jnp.bfloat16)
    assert logits.dtype == jnp.float32
    assert 1e-4 < np.abs(logits - stored(name)).mean() < 0.05


def test_a_language_model_becomes_a_classifier(tmp_path):
    folder = decoders.write("llama", tmp_path)
    model, variables, report = weights.restore(folder, head="classify", num_classes=3)
    assert [path for path, _ in report.reinitialised] == ["head/dense/kernel"]
    assert [name for name, _ in report.ignored] == ["lm_head.weight"]
    ids, mask = decoders.texts(7, 61)
    assert model.apply(variables, {"input_ids": ids, "attention_mask": mask}).shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("gpt2", {"activation_function": "relu"}, "activation_function='relu'.*'gelu_new'"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type='yarn'.*'llama3'"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("gemma2", {"layer_types": ["full_attention", "full_attention"]}, "layer_types.0.='full_attention'"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(tmp_path, name, config, message):
    with pytest.raises(InputError, match=message):
        weights.restore(rewritten(name, tmp_path, dict, **config))


def test_configs_before_version_5_say_the_same(tmp_path):
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 16
    old = {"rope_parameters": None, "rope_theta": 500.0, "rope_scaling": scaling}
    np.testing.assert_allclose(logits_of(rewritten("llama3", tmp_path, dict, **old))[0], stored("llama3"), atol=1e-4)


@pytest.mark.parametrize("name", ["mistral_7b", "gemma2_2b"])
def test_a_config_says_all_whatever_model_it_is_built_on(tmp_path, name):
    model, variables, _ = weights.restore(decoders.write("llama", tmp_path), model=name)
    ids, mask = decoders.texts(7, 61)
    logits = forward(model)(variables, {"input_ids": ids, "attention_mask": mask})[mask.astype(bool)]
    np.testing.assert_allclose(logits, stored("llama"), atol=1e-4)


@pytest.mark.live
@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
@pytest.mark.filterwarnings("ignore")
def test_transformers_loads_what_is_exported(tmp_path, name):
    import make_decoder_references as live

    model, variables, _ = weights.restore(decoders.write(name, tmp_path))
    config = libraries.transformers(name, model, ())
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(libraries.tensors(variables, model, "transformers"), tmp_path / "model.safetensors", {"format": "pt"})
    cls = getattr(live.transformers, config["architectures"][0])
    theirs, info = cls.from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not any(info.values())
    ids, mask = decoders.texts(7, 61)
    np.testing.assert_allclose(live.logits_of(theirs, ids, mask)[mask.astype(bool)], stored(name), atol=1e-6)


def test_what_transformers_does_not_have_is_not_exported():
    model, _ = tiny("qwen3_0_6b", window=4)
    with pytest.raises(InputError, match="transformers' qwen3 has window=None only; this model has 4"):
        maps.family(model).transformers(model)


def test_an_unknown_head_is_named():
    with pytest.raises(InputError, match="unknown head 'clasify'; nearest: classify"):
        models.create("gpt2", head="clasify").stages  # noqa: B018
