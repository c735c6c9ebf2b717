"""Whatever stands in the JSON files beside weights, it is read as it is meant or refused in one line."""

import collections
import json
import time

import fuzz_configs
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_bad_input import CONFIG

from jtransfer import convert, inspect, main, weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.generate import read as generation
from jtransfer.weights import schema, shapes
from jtransfer.weights.formats import json_header
from jtransfer.weights.formats.lazy import Malformed
from jtransfer.weights.identify import manifest, model_fields


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Case → its folder and the content of its files; each is written once."""
    made = {}

    def get(case):
        if case not in made:
            folder = tmp_path_factory.mktemp(case)
            made[case] = folder, fuzz_configs.write(case, folder)
        return made[case]

    return get


def laid(files, case, tmp_path, name="config.json", **changed):
    """The folder of a case with other values in one of its files, each the text of JSON."""
    folder, contents = files(case)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    for file, content in contents.items():
        marked = content | {key: f"<{key}>" for key in changed} if file == name else content
        text = json.dumps(marked)
        for key, value in changed.items():
            text = text.replace(f'"<{key}>"', value)
        (tmp_path / "source" / file).parent.mkdir(exist_ok=True)
        (tmp_path / "source" / file).write_text(text)
    return tmp_path / "source"


LAYERS = {
    **dict.fromkeys(("bert", "llama", "vit", "dinov2", "clip_image", "clip_text"), "num_hidden_layers"),
    **{"gpt2": "n_layer", "distilbert": "n_layers", "t5": "num_layers", "bart": "encoder_layers"},
}


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("value", ["1000000000", "9999", "0", "true", "2.0", '"2"', "null", "[2]"])
def test_a_depth_is_a_whole_number_of_layers_that_the_weights_have(case, value, files, tmp_path):
    source = laid(files, case, tmp_path, **{LAYERS[case]: value})
    start = time.process_time()
    with pytest.raises(InputError) as error:
        weights.describe(source)
    said = str(error.value)
    assert "\n" not in said
    assert f"{LAYERS[case]}=" in said or ("layers; the weights are" in said and value == "9999")
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("case", "key", "value", "says"),
    [
        ("bert", "hidden_size", "1000000000", "hidden_size=1000000000; it must be a whole number from 1 to"),
        ("bert", "hidden_size", "16000000", "width=16000000; the largest tensor of the weights has"),
        ("bert", "vocab_size", "16000000", "vocab_size=16000000; the largest tensor"),
        ("bert", "num_attention_heads", "0", "num_attention_heads=0; it must be"),
        ("bert", "layer_norm_eps", '"x"', "layer_norm_eps='x'; it must be a number from 0 to 1"),
        ("bert", "hidden_dropout_prob", "-1", "hidden_dropout_prob=-1; it must be"),
        ("bert", "hidden_act", "[1]", "hidden_act=.1.; it must be a text"),
        ("bert", "hidden_size", "1e400", "has the number 1e400, which is too large"),
        ("bert", "hidden_size", "NaN", "has the number NaN"),
        ("bert", "hidden_size", "[" * 200 + "]" * 200, "nested more than 100 deep"),
        ("bert", "hidden_size", '7, "hidden_size": 7', "has the key 'hidden_size' twice"),
        ("bert", "model_type", "5", "model_type=5; it must be a text"),
        ("bert", "id2label", '{"0": {}}', "id2label=.'0': .*; it must be an object"),
        ("roberta", "pad_token_id", "null", "pad_token_id=None; it must be a whole number"),
        ("llama", "num_attention_heads", "7", "num_heads=7 is no multiple of num_kv_heads=2"),
        ("llama", "num_key_value_heads", "7", "num_heads=2 is no multiple of num_kv_heads=7"),
        ("llama", "head_dim", "7", "head_dim=7 is odd, and rotary position embeddings"),
        ("t5", "pad_token_id", "1000000000", "pad=1000000000 is no token of a vocabulary of 20"),
        ("convnext", "depths", "[1]", "depths of 1 stages and widths of 2 stages; they must be as many"),
        ("swin", "num_heads", "[1]", "stages; they must be as many"),
        ("efficientnet", "depth_coefficient", "12.0", "a model 12 times as deep as the smallest"),
        ("efficientnet", "depth_coefficient", "7", "a model 7 times as deep as the smallest"),
        ("marian", "max_position_embeddings", "1000000000", "a table of too many numbers"),
        ("t5", "relative_attention_max_distance", "1000000000", "max_distance=1000000000; it must be a whole number"),
        ("bart", "decoder_start_token_id", "20", "start=20 is no token of a vocabulary of 20"),
        ("llama", "rope_parameters", '{"rope_type": ["x"]}', "rope_parameters: rope_type=.'x'.; it must be"),
        ("clip", "text_config", '{"hidden_size": true}', "text_config: hidden_size=True; it must be"),
        ("clip", "vision_config", "5", "vision_config=5; it must be an object"),
        ("t5", "eos_token_id", "[]", r"eos_token_id=\[\]; it must be"),
        ("resnet", "layer_type", '"x"', "layer_type='x'; it must be 'basic' or 'bottleneck'"),
        ("resnet", "hidden_sizes", "[0]", r"hidden_sizes=\[0\]; it must be a list of 1 to 100"),
        ("resnet", "depths", "[9000, 1]", "9,001 layers; the weights are"),
        ("swin", "window_size", "1024", "window=1024, of which the weights have no table"),
        ("vit", "patch_size", "0", "patch_size=0; it must be"),
        ("vit", "image_size", "1000000000", "image_size=1000000000; it must be"),
        ("efficientnet", "depth_coefficient", "1000000000", "depth_coefficient=1000000000; it must be a number"),
        ("timm_vit", "model_args", '{"depth": 1000000000}', "model_args: depth=1000000000; it must be"),
        ("timm_vit", "pretrained_cfg", '{"input_size": [3, 0, 9]}', "pretrained_cfg: input_size=.*; it must be"),
        ("timm_vit", "pretrained_cfg", "[]", r"pretrained_cfg=\[\]; it must be an object"),
    ],
)
def test_what_a_value_must_be_is_said_by_the_name_that_it_has_in_the_file(case, key, value, says, files, tmp_path):
    with pytest.raises(InputError, match=says) as error:
        weights.describe(laid(files, case, tmp_path, **{key: value}))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_pair_that_does_not_fit_is_not_read_as_one_of_its_towers(files, tmp_path):
    with pytest.raises(InputError, match=r"(?s)does not fit CLIPPair.*the model has \[8, 7\]"):
        weights.restore(laid(files, "clip", tmp_path, projection_dim="7"))


@pytest.mark.parametrize("main_", [convert.main, inspect.main, main.main])
def test_the_commands_end_with_exit_code_2_and_write_nothing(main_, files, tmp_path, capsys):
    source, dest = laid(files, "vit", tmp_path, num_hidden_layers="1000000000"), tmp_path / "new"
    argv = {
        convert.main: [source, dest],
        inspect.main: [source],
        main.main: [f"--config={CONFIG}", f"--config.init={source}", "--config.model.name=", f"--workdir={dest}"],
    }[main_]
    try:
        run_command(main_, ["command", *map(str, argv)])
        code = 0
    except SystemExit as stopped:
        code = stopped.code
    out = capsys.readouterr()
    assert code == (0 if main_ is inspect.main else 2)  # what is in a file is shown all the same
    assert "num_hidden_layers=1000000000; it must be a whole number" in out.err + out.out
    assert not dest.exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"depth": 1_000_000_000}, "depth=1000000000; it must be a whole number"),
        ({"depth": 9999}, "9,999 layers; the weights are"),
        ({"width": 16_000_000}, "width=16000000; the largest tensor"),
        ({"width": "x"}, "width='x'; it must be"),
        ({"num_classes": 0}, "a layer of ViT has no features with num_classes=0; make it 1 or more"),
        ({"num_heads": 0}, "num_heads=0; it must be"),
        ({"image_size": [32]}, r"image_size=\[32\]; it must be"),
        ({"eps": None}, "eps=None; it must be a number"),
        ({"pixels": 5}, "pixels=5; it must be an object"),
        ({"head": [1]}, r"head=\[1\]; it must be a text"),
    ],
)
def test_fields_in_a_source_json_are_of_their_types_and_fit_the_weights(fields, says, files, tmp_path):
    contents = files("own")[1]
    model = {**contents[manifest.FILE]["model"]}
    model["fields"] = {**model["fields"], **fields}
    with pytest.raises(InputError, match=says):
        weights.restore(laid(files, "own", tmp_path, manifest.FILE, model=json.dumps(model)))


def test_a_factor_of_the_depth_in_a_source_json_is_bounded_by_the_weights_if_it_is_whole_too(files, tmp_path):
    model = {"name": "efficientnet_b0", "fields": {"depth": 100}}
    with pytest.raises(InputError, match="a model of 1,700 layers; the weights are"):  # b0 has 17 with the first at 1
        weights.describe(laid(files, "own", tmp_path, manifest.FILE, model=json.dumps(model)))


@pytest.mark.parametrize("padding", ["[0]", "[4, 6]", "[9999]"])
def test_padding_of_blocks_without_strides_changes_nothing(padding, files, tmp_path):
    """As in transformers, whose outputs are the same to the last bit with these and with []."""
    source = laid(files, "efficientnet", tmp_path)
    plain = weights.describe(source).model
    content = files("efficientnet")[1]["config.json"]
    (source / "config.json").write_text(json.dumps(content | {"depthwise_padding": json.loads(padding)}))
    assert weights.describe(source).model == plain


def test_a_model_without_a_name_is_searched_for_with_each_model_made_once(files, tmp_path, monkeypatch):
    made, trace = collections.Counter(), shapes._trace
    monkeypatch.setattr(shapes, "_trace", lambda model, sample: made.update([model]) or trace(model, sample))
    source = laid(files, "timm_resnet", tmp_path, architecture="null")
    for _ in range(2):
        weights.describe(source)
    assert set(made.values()) == {1}


@pytest.mark.parametrize("key", ["model", "digest", "class_names", "preprocessing", "source"])
@pytest.mark.parametrize("value", ["5", "[[]]", "null"])
def test_a_source_json_of_other_types_is_damaged(key, value, files, tmp_path):
    with pytest.raises(InputError, match="is damaged; convert the source again"):
        weights.describe(laid(files, "own", tmp_path, manifest.FILE, **{key: value}))


@pytest.mark.parametrize(
    "changed",
    [{"max_length": '"x"'}, {"eos_token_id": '["x"]'}, {"bad_words_ids": "[5]"}, {"top_k": "[]"}, {"x": "1e400"}],
)
def test_settings_of_generation_are_of_their_types(changed, files, tmp_path):
    with pytest.raises(InputError, match=next(iter(changed)) if "x" not in changed else "too large"):
        generation(laid(files, "gpt2", tmp_path, "generation_config.json", **changed), encoder_decoder=False)


def test_numbers_of_a_kind_are_told_as_transformers_does():
    """A whole number is not 12.0, "12" or true, and a number may be whole; so it is since its version 5."""
    assert [schema.SIZE.fits(x) for x in (12, 12.0, True, "12", None, 0, -1, 10**400)] == [True] + [False] * 7
    assert [schema.RATE.fits(x) for x in (0, 0.5, 1, True, "0.5", None, 1.5, 10**400)] == [True] * 3 + [False] * 5
    assert [schema.optional(schema.SIZE).fits(x) for x in (None, 1, "x")] == [True, True, False]


def test_arguments_of_timm_that_are_null_are_as_if_they_were_not_there(files, tmp_path):
    """timm's `create_model` drops them: a DINOv2 keeps the layer scale that it has by its name."""
    contents = files("timm_vit")[1]
    args = contents["config.json"]["model_args"]
    plain = weights.describe(laid(files, "timm_vit", tmp_path, model_args=json.dumps(args))).model
    config = tmp_path / "source" / "config.json"
    nothing = {"init_values": None, "act_layer": None, "norm_layer": None, "global_pool": None}
    config.write_text(json.dumps(contents["config.json"] | {"model_args": args | nothing}))
    assert weights.describe(tmp_path / "source").model == plain


def test_a_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "file").write_text('{"a": "' + "x" * 100 + '"}')
    assert json_header.read(tmp_path / "file")["a"] == "x" * 100
    with pytest.raises(Malformed, match="JSON of more than 50 bytes"):
        json_header.read(tmp_path / "file", limit=50)


def test_layers_that_one_tensor_holds_count(tmp_path):
    tensors = {"a": np.zeros((12, 3, 3)), "b": np.zeros((12, 3))}
    model_fields.fit({"depth": 12}, tensors, "here")
    with pytest.raises(InputError, match="here has a model of 13 layers; the weights are 2 tensors"):
        model_fields.fit({"depth": 13}, tensors, "here")


def test_a_number_that_is_stored_as_a_list_is_of_another_shape(files, tmp_path):
    source = laid(files, "clip", tmp_path)
    tensors = load_file(source / "model.safetensors")
    save_file(tensors | {"logit_scale": np.zeros(1, np.float32)}, source / "model.safetensors")
    with pytest.raises(InputError, match="head/scale: the model has"):
        weights.restore(source, model="clip_base_patch16")


@pytest.mark.parametrize("case", ["sentence", "gemma2", "marian", "clip", "resnet", "timm_swin", "own"])
def test_a_sample_of_all_values_in_all_places(case):
    """The whole is `python tests/fuzz_configs.py`."""
    outcomes = {what: found for what, found, _ in fuzz_configs.fuzz(case, fuzz_configs.VALUES, every=97)}
    assert not {what: found for what, found in outcomes.items() if found not in ("refused", "loads")}
