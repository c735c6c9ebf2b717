"""Folders of Hugging Face's PEFT: what they compute, what they become and come back as, and which are refused."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from huggingface_hub import constants, errors
from safetensors.numpy import load_file, save_file
from test_hub_requests import Hub, served

from jtransfer import convert, export, inspect, merge, models, peft, strip, weights
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import merging
from jtransfer.models import forward
from jtransfer.weights.adapters import attach, pattern, save
from jtransfer.weights.adapters.load import load
from jtransfer.weights.shapes import abstract

FOLDER = Path(__file__).parent / "references" / "peft"
CASES = sorted(path.name for path in FOLDER.iterdir())
TIED = {"gpt2_tied"}


def stored(case):
    """Inputs and logits of a reference."""
    with np.load(FOLDER / case / "logits.npz") as file:
        held = dict(file)
    logits = held.pop("logits")
    inputs = {name.removeprefix("input_"): x for name, x in held.items()}
    return inputs.get("", inputs), logits


def logits_of(model, variables, inputs):
    return np.asarray(jax.jit(lambda v, x: forward.apply(model, v, x)[0])(variables, inputs))


def restore(case, adapter=None):
    model, variables, _ = weights.restore(FOLDER / case / "base", adapters=adapter or FOLDER / case / "adapter")
    return model, variables


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_peft_beside_the_base_and_merged(case):
    model, variables = restore(case)
    inputs, logits = stored(case)
    np.testing.assert_allclose(logits_of(model, variables, inputs), logits, atol=1e-5)
    merged = merging.merge(model, variables, untie=case in TIED)
    assert "adapters" not in merged.variables
    np.testing.assert_allclose(logits_of(merged.model, merged.variables, inputs), logits, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_as_the_same(case, tmp_path):
    model, variables = restore(case)
    brought = load(FOLDER / case / "adapter", model).params
    save.save(tmp_path, model, variables, beside=brought, source="its base")
    if case == "roberta":  # whose classifier is two layers
        assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] == ["classifier"]
    again, back = restore(case, tmp_path)
    assert again == model
    inputs, logits = stored(case)
    np.testing.assert_allclose(logits_of(model, back, inputs), logits, atol=1e-5)
    if "gpt2" not in case and "timm" not in case:  # in which three layers are one module
        jax.tree.map(np.testing.assert_array_equal, back["adapters"], variables["adapters"])


def test_adapters_of_a_model_are_the_same_before_it_is_loaded_and_after():
    model, variables = restore("bert")
    before = load(FOLDER / "bert" / "adapter", model).adapters
    jax.tree.map(np.testing.assert_array_equal, before, variables["adapters"])
    rows = [(".*/(query|value)", "lora", {"rank": 4})]
    x = model.example_input(1)
    sites = peft.sites(model, abstract(model), x)
    begun = jax.eval_shape(lambda params: peft.init(jax.random.key(0), rows, sites, params), variables["params"])
    assert trees.flatten(begun).keys() == trees.flatten(before).keys()


def test_layers_that_a_library_has_as_one_module_are_written_with_ranks_that_add_up(tmp_path):
    model, variables, _ = weights.restore(FOLDER / "gpt2" / "base")
    sites = peft.sites(model, variables, model.example_input(1))
    rows = [(".*/query", "lora", {"rank": 3, "alpha": 5.0}), (".*/value", "lora", {"rank": 2})]
    adapters = peft.init(jax.random.key(0), rows, sites, variables["params"])
    moved = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(1), x.shape) * (x.ndim > 0), adapters)
    save.save(tmp_path, model, {**variables, "adapters": moved})
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_"
    assert (tensors[f"{name}A.weight"].shape, tensors[f"{name}B.weight"].shape) == ((5, 16), (48, 5))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    change = config["lora_alpha"] / config["r"] * tensors[f"{name}B.weight"] @ tensors[f"{name}A.weight"]
    own = {part: moved["layer_0"]["attention"][part]["lora"] for part in ("query", "value")}
    wanted = {part: np.tensordot(x["a"], x["b"], 1) * x["fixed"]["scale"] for part, x in own.items()}
    np.testing.assert_allclose(change[:16].T, wanted["query"], atol=1e-6)
    np.testing.assert_array_equal(change[16:32], 0)
    np.testing.assert_allclose(change[32:].T, wanted["value"], atol=1e-6)
    assert config["fan_in_fan_out"]


def test_names_of_transformers_4_are_read_and_written(tmp_path):
    model, variables = restore("vit")
    brought = load(FOLDER / "vit" / "adapter", model).params
    save.save(tmp_path, model, variables, beside=brought, library=save.V4)
    names = load_file(tmp_path / "adapter_model.safetensors")
    assert "base_model.model.vit.encoder.layer.0.attention.attention.query.lora_A.weight" in names
    assert "vit.layers.0.attention.q_proj" in "".join(
        load_file(FOLDER / "vit" / "adapter" / "adapter_model.safetensors")
    )
    inputs, logits = stored("vit")
    np.testing.assert_allclose(logits_of(model, restore("vit", tmp_path)[1], inputs), logits, atol=1e-5)


def test_several_adapters_add_up_and_are_labelled(tmp_path):
    place = FOLDER / "llama" / "adapter"
    shutil.copytree(place, tmp_path / "other one")
    model, variables, report = weights.restore(FOLDER / "llama" / "base", adapters=[place, tmp_path / "other one"])
    own = variables["adapters"]["layer_0"]["attention"]["query"]
    assert sorted(own) == ["lora.adapter", "lora.other-one"]
    twice = peft.merge(variables["params"], variables["adapters"])
    once = peft.merge(variables["params"], load(place, model).adapters)
    kernels = [x["layer_0"]["attention"]["query"]["kernel"] for x in (variables["params"], once, twice)]
    np.testing.assert_allclose(kernels[2] - kernels[0], 2 * (kernels[1] - kernels[0]), atol=1e-6)
    assert any("lora on 7 layers" in line for line in report.notes)


def test_an_adapter_of_another_base_is_refused_with_both_digests(tmp_path):
    model, variables = restore("llama")
    (tmp_path / "new").mkdir()
    save.save(tmp_path / "new", model, variables, source="one")
    other = dict(load_file(FOLDER / "llama" / "base" / "model.safetensors"))
    shutil.copytree(FOLDER / "llama" / "base", tmp_path / "base")
    other["model.norm.weight"] = other["model.norm.weight"] + 1
    save_file(other, tmp_path / "base" / "model.safetensors")
    with pytest.raises(InputError, match=r"another base: it was made for one with sha256:\w{64}, .* has sha256:\w{64}"):
        weights.restore(tmp_path / "base", adapters=tmp_path / "new")
    (tmp_path / "new" / "jtransfer.json").unlink()
    weights.restore(tmp_path / "base", adapters=tmp_path / "new")


def code(command, *args):
    try:
        run_command(command.main, [command.__name__, *map(str, args)])
    except SystemExit as stopped:
        return stopped.code
    return 0


def test_commands_merge_convert_inspect_and_write_folders(tmp_path, capsys):
    base, adapter = FOLDER / "bert" / "base", FOLDER / "bert" / "adapter"
    inputs, logits = stored("bert")
    with_adapter = ("--adapters", adapter)
    assert code(export, base, tmp_path / "hf", *with_adapter, "--format=hf") == 0
    assert code(convert, base, tmp_path / "orbax", *with_adapter) == 0
    assert code(merge, base, tmp_path / "merged", *with_adapter) == 0
    assert re.search(r"merging changes the logits by \S+ at most, \S+ in the mean, .*made-up", capsys.readouterr().out)
    for place in ("hf", "orbax", "merged"):
        model, variables, _ = weights.restore(tmp_path / place)
        np.testing.assert_allclose(logits_of(model, variables, inputs), logits, atol=1e-4)
    assert code(export, base, tmp_path / "peft", *with_adapter, "--format=peft") == 0
    model, variables, _ = weights.restore(base, adapters=tmp_path / "peft")
    np.testing.assert_allclose(logits_of(model, variables, inputs), logits, atol=1e-5)
    assert code(inspect, adapter) == code(inspect, base, *with_adapter) == 0
    assert "layer_0/attention/query  lora" in capsys.readouterr().out
    assert code(strip, base, tmp_path / "none") == 2
    assert "has no adapters" in capsys.readouterr().err


def test_tied_embeddings_are_merged_into_only_when_they_become_two(tmp_path, capsys):
    place = FOLDER / "gpt2_tied"
    assert code(merge, place / "base", tmp_path / "new", "--adapters", place / "adapter") == 2
    assert "embed/tokens: these embeddings are also the head's kernel" in capsys.readouterr().err
    assert code(export, place / "base", tmp_path / "new", "--adapters", place / "adapter", "--format=npz") == 2
    assert not (tmp_path / "new").exists()
    assert code(merge, place / "base", tmp_path / "new", "--adapters", place / "adapter", "--untie") == 0
    model, variables, _ = weights.restore(tmp_path / "new")
    inputs, logits = stored("gpt2_tied")
    np.testing.assert_allclose(logits_of(model, variables, inputs), logits, atol=1e-4)


NAME = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
VALUE = NAME.replace("query", "value")
STRANGE = {
    "rank": ({"r": 10**9}, {}, "r=1000000000; it must be a whole number from 1 to 65,536"),
    "other rank": ({"r": 8}, {}, "value.lora_A has the shape .*rank 8"),
    "alpha": ({"lora_alpha": "NaN"}, {}, "lora_alpha='NaN'; it must be a number"),
    "method": ({"peft_type": "EVIL"}, {}, "peft_type='EVIL'; adapters that are read are LORA"),
    "no method": ({"peft_type": None}, {}, "peft_type"),
    "unknown key": ({"lora_bias": True}, {}, "lora_bias=True, which is not done here"),
    "future key": ({"quantum": {"x": 1}}, {}, "quantum={'x': 1}, which is not done here"),
    "code": ({"auto_mapping": {"base_model_class": "x", "code": "evil.py"}}, {}, "auto_mapping="),
    "started on the base": ({"init_lora_weights": "pissa"}, {}, "init_lora_weights='pissa' changed the base"),
    "token rows": ({"trainable_token_indices": [1]}, {}, "trainable_token_indices"),
    "replicated layers": ({"layer_replication": [[0, 1]]}, {}, "layer_replication"),
    "pattern": ({"target_modules": "(" * 60 + ")" * 60}, {}, "groups more than 50 deep"),
    "look-ahead": ({"target_modules": "(?=a).*"}, {}, "which is not followed here"),
    "broken pattern": ({"target_modules": "(a"}, {}, "is not a regular expression"),
    "rank pattern": ({"rank_pattern": {"value": 3}}, {}, "query.lora_A has the shape .*rank 4"),
    "missing target": ({"target_modules": ["query", "value", "key"]}, {}, "self.key, of which there is no tensor"),
    "not meant": ({"target_modules": ["query"]}, {}, "there are tensors of .*value, which target_modules"),
    "no factor": ({}, {VALUE: None}, "value has lora_B; lora_A"),
    "no such layer": ({}, {NAME.replace("layer.0", "layer.7"): np.zeros((4, 16), "f")}, "no layer for .*layer.7"),
    "no such place": ({}, {"base_model.model.bert.evil.weight": np.zeros(3, "f")}, "evil.weight' has no place"),
    "shape": ({}, {VALUE: np.zeros((4, 17), "f")}, r"value.lora_A has the shape \[4, 17\]"),
    "axes": ({}, {VALUE: np.zeros((4, 4, 4), "f")}, r"value.lora_A has the shape \[4, 4, 4\]"),
    "not finite": ({}, {VALUE: np.full((4, 16), np.nan, "f")}, "holds numbers that are not finite"),
    "head": ({}, {"base_model.model.classifier.bias": None}, "modules_to_save names classifier, of which"),
    "head's shape": ({}, {"base_model.model.classifier.bias": np.zeros(4, "f")}, "classifier.bias has the shape"),
    "two adapters": ({}, {NAME.replace("lora_A", "lora_A.other"): np.zeros((2, 16), "f")}, "more than one adapter"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_strange_folder_is_one_line(case, tmp_path, capsys):
    fields, tensors, says = STRANGE[case]
    place = tmp_path / "adapter"
    shutil.copytree(FOLDER / "bert" / "adapter", place)
    config = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(config | fields))
    held = dict(load_file(place / "adapter_model.safetensors")) | tensors
    save_file({name: x for name, x in held.items() if x is not None}, place / "adapter_model.safetensors")
    assert code(export, FOLDER / "bert" / "base", tmp_path / "new", "--adapters", place, "--format=hf") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(says, error), error
    assert not (tmp_path / "new").exists()


def test_links_and_missing_files_are_refused(tmp_path):
    place = tmp_path / "adapter"
    shutil.copytree(FOLDER / "bert" / "adapter", place)
    model = models.create("bert_tiny", 3)
    (place / "adapter_model.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"has no tensors: adapter_model\.safetensors and adapter_model\.bin are"):
        load(place, model)
    (place / "adapter_model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out of its folder"):
        load(place, model)
    with pytest.raises(InputError, match=r"is no adapter: it has no adapter_config\.json"):
        load(FOLDER / "bert" / "base", model)
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nowhere", model)
    with pytest.raises(InputError, match="labelled by letters"):
        load(FOLDER / "bert" / "adapter", model, label="a/b")


def test_an_adapter_on_the_hub_is_the_one_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub = served(monkeypatch, Hub(FOLDER / "bert" / "adapter", tmp_path / "snapshot"))
    model, variables = restore("bert", "hf://org/some-adapter")
    jax.tree.map(np.testing.assert_array_equal, variables, restore("bert")[1])
    assert {file for file, count in hub.asked.items() if count} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "jtransfer.json",
    }
    hub.failures["adapter_config.json"] = errors.EntryNotFoundError("404")
    with pytest.raises(InputError, match="hf://org/some-adapter is no adapter: it has no adapter_config"):
        load("hf://org/some-adapter", model)


def test_an_adapter_in_a_folder_of_its_name_is_found(tmp_path):
    shutil.copytree(FOLDER / "bert" / "adapter", tmp_path / "french")
    model, _ = restore("bert")
    found = load(tmp_path, model)
    assert any("the adapter 'french'" in line for line in found.lines)
    shutil.copytree(FOLDER / "bert" / "adapter", tmp_path / "german")
    with pytest.raises(InputError, match="holds several adapters: french, german"):
        load(tmp_path, model)


@pytest.mark.parametrize(
    ("expression", "text", "matches"),
    [
        (r".*\.(query|value)", "layer.0.query", True),
        (r".*\.(query|value)", "layer.0.query.x", False),
        (r"^(?:.*?(?:text|vision).*?(?:mlp|attn).*?(?:fc1|q_proj).*?)$", "vision.layers.3.mlp.fc1", True),
        (r"\bmodel\.layers\.[\d]{1,}\.(?:mlp|attn)\.\w+", "model.layers.11.mlp.up_proj", True),
        (r"[^.]*\.\w+\W.*", "a.b.c", True),
        (r"(a|b)*c?", "ababc", True),
        (r"(a+)+b", "a" * 200, False),
        (r".*" * 30 + "x", "a" * 300, False),
        (r"(a{1,1000000}){1,1000000}", "a" * 300, True),
    ],
)
def test_patterns_of_strangers_match_as_in_python_and_end(expression, text, matches):
    assert pattern.compile(expression, "here")(text) is matches
    if len(text) < 100:
        assert bool(re.fullmatch(expression, text)) is matches


def test_labels_of_several_adapters_are_told_apart():
    assert attach.labelled("a/b") == {"": "a/b"}
    assert attach.labelled(["a/b", "c/b", "d/b e"]) == {"b": "a/b", "b-2": "c/b", "b-e": "d/b e"}
    assert attach.labelled({"x": "a"}) == {"x": "a"}


@pytest.fixture
def hub_file(tmp_path):
    """A file as KerasHub writes it, for a model whose kernels are [inputs, heads, size], and its factors."""
    import h5py

    draw = np.random.default_rng(0).standard_normal
    factors = [(draw((16, heads, 3), "f"), draw((3, 8), "f")) for heads in (2, 1)]
    with h5py.File(tmp_path / "some.lora.h5", "w") as file:
        file["lora/vars/rank"] = 3
        for number, (a, b) in zip((4, 11), factors, strict=True):
            file[f"lora/{number}/vars/lora_kernel_a"], file[f"lora/{number}/vars/lora_kernel_b"] = a, b
    return tmp_path / "some.lora.h5", factors


def test_factors_of_kerashub_change_the_kernels_that_they_are_of(hub_file):
    file, factors = hub_file
    _, variables, report = weights.restore(FOLDER / "llama" / "base", adapters=file)
    after = peft.merge(variables["params"], variables["adapters"])
    for part, (a, b) in zip(("query", "value"), factors, strict=True):
        kernels = [tree["layer_0"]["attention"][part]["kernel"] for tree in (variables["params"], after)]
        np.testing.assert_allclose(kernels[1] - kernels[0], np.einsum("mhr,rk->mhk", a, b).reshape(16, -1), atol=1e-5)
    assert "taken to be of query and value in order" in report.notes[-1]


def test_a_file_of_kerashub_for_another_model_is_refused(hub_file):
    with pytest.raises(InputError, match=r"can't be those of layer_0/attention/value, whose kernel is \[16, 16\]"):
        weights.restore(FOLDER / "bert" / "base", adapters=hub_file[0])


def test_what_is_no_method_of_peft_is_not_written(tmp_path):
    model, variables = restore("bert")
    variables["adapters"]["layer_0"]["fc1"] = {"evil": {"a": np.zeros(1)}}
    with pytest.raises(InputError, match="belongs to no known adapter"):
        save.save(tmp_path, model, variables)
    with pytest.raises(InputError, match="there are no adapters to write"):
        save.save(tmp_path, model, {"params": variables["params"]})
