"""What a source says of its model counts whoever names the model, and what no family claims is refused."""

import importlib
import json

import numpy as np
import pytest
import references
from safetensors.numpy import save_file

from jtransfer import config as configs
from jtransfer import convert, models, weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.modalities import MODALITIES
from jtransfer.runs import build, describe, initialize, summary
from jtransfer.runs import folder as folders
from jtransfer.tasks import TASKS
from jtransfer.weights import conversion, maps
from jtransfer.weights.identify import detect, hf_config

CASE, OURS = "mobilenet_v3_small_tf_75", "mobilenet_v3_small"
INPUT = {"input_size": [3, 75, 75], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "crop_pct": 1.0}
TIMM = {"architecture": "tf_mobilenetv3_small_100", "pretrained_cfg": {**INPUT, "interpolation": "bilinear"}}


def write(folder, config, case=CASE):
    """A folder as the hub has it."""
    folder.mkdir(exist_ok=True)
    tensors = references.load(case).tensors
    save_file({name: tensor.read() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("hub") / "weights", TIMM)


def config_of(init, **fields):
    config = configs.default()
    config.init = str(init)
    config.data.name = "embedded:fashion_mnist"
    config.phases = [configs.phase("probe", steps=1)]
    config.model.fields.update(fields)
    return config


@pytest.mark.parametrize("name", ["", OURS])
def test_a_run_reads_what_the_source_says_whether_or_not_its_config_names_the_model(name, source, tmp_path):
    config = config_of(source)
    config.model.name = name
    run = build.prepare(config, tmp_path)
    assert (run.config.model.name, run.model.symmetric, run.model.image_size) == (OURS, False, 75)
    assert (run.model.pixels.mean, run.model.pixels.crop) == ((0.5, 0.4, 0.3), 1.0)


@pytest.fixture
def begun(source, tmp_path):
    """The folder of a run that an earlier version began, which did not read all that a source says; and its config."""
    config = config_of(source)
    config.model.name = OURS
    stored = json.loads(build.prepare(config, tmp_path).config.to_json())
    fields = stored["model"]["fields"]
    stored["model"]["fields"] = {"image_size": 75, "pixels": fields["pixels"]}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    return tmp_path, config


def test_a_run_goes_on_with_the_model_that_it_was_begun_with(begun, capsys):
    folder, config = begun
    found = build.prepare(config, folder)
    folders.check(folder, found.config)
    usual = models.create(OURS)
    assert found.model.symmetric is usual.symmetric is True
    assert (found.model.image_size, found.model.pixels.mean) == (75, (0.5, 0.4, 0.3))
    assert "model.fields.symmetric stays True, as the run was begun; its source states False" in capsys.readouterr().out


def test_what_the_config_itself_gives_is_compared_with_the_run(begun):
    folder, config = begun
    config.model.fields.symmetric = False
    found = build.prepare(config, folder)
    with pytest.raises(InputError, match=r"another config; .* model\.fields\.symmetric: None → False"):
        folders.check(folder, found.config)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace(OURS, "mobilenet_v3_large"))
    _, lines = folders.model_as_begun(folder, found.config, ())
    assert lines == []


def described(config, init):
    image = MODALITIES["image"]()
    return describe.describe(config, init, TASKS["classify"], image, references.CLASSES, {})


def test_what_a_plain_file_is_of_is_found_out_once(tmp_path, monkeypatch):
    calls = []
    restoring = importlib.import_module("jtransfer.weights.restore")
    monkeypatch.setattr(restoring, "detect", lambda *args: calls.append(args) or detect.compare(OURS, args[0]))
    folder = write(tmp_path / "weights", {})
    (folder / "config.json").unlink()
    (folder / "preprocessor_config.json").write_text('{"do_resize": false, "size": {"height": 64, "width": 64}}')
    config = config_of(folder)
    config.model.name = ""
    assert described(config, weights.open(folder))[0] == OURS
    assert len(calls) == 1


def test_a_field_of_the_config_wins_over_the_sources_and_that_is_said(source):
    config = config_of(source, symmetric=True)
    config.model.name = OURS
    name, fields = described(config, weights.open(source))
    model = models.create(name, references.CLASSES, **fields | {"pixels": models.create(name).pixels})
    assert model.symmetric
    _, report = weights.load(source, model)
    assert ("symmetric", True, False) in report.differs
    assert "! symmetric: the model has True, its source says False" in str(report)
    assert summary.notes(initialize.counts(report)) == report.conflicts
    exact = weights.describe(source).model
    assert weights.load(source, exact)[1].differs == ()


def test_a_converted_checkpoint_says_it_too(source, tmp_path):
    spec, _ = conversion.convert(source, tmp_path / "new", model=OURS)
    assert (spec.name, spec.model.symmetric) == (OURS, False)
    config = config_of(tmp_path / "new")
    config.model.name = OURS
    assert described(config, weights.open(tmp_path / "new"))[1]["symmetric"] is False
    _, report = weights.load(tmp_path / "new", spec.model.clone(symmetric=True))
    assert report.differs == (("symmetric", True, False),)


def test_what_can_not_be_told_is_said(tmp_path):
    folder = write(tmp_path / "weights", {})
    _, report = weights.load(folder, weights.describe(folder).model)
    assert report.unsure == ("symmetric", "eps")
    assert summary.notes(initialize.counts(report))[0].startswith("? symmetric and eps can't be told from the source")


ABSENT = (
    *("resnetblur18", "resnetaa50", "resnet51q", "gcresnet50t", "ecaresnet50t", "resnetv2_50"),
    *("skresnet18", "convnextv2_tiny", "convnext_tiny_hnf", "convnext_atto_rms", "swinv2_tiny_window8_256"),
    *("swin_s3_tiny_224", "vit_base_patch16_rope_224", "vit_base_patch16_siglip_gap_224"),
    *("vit_base_patch16_gap_224", "vit_base_patch16_rpn_224", "vit_base_patch14_reg4_dinov2"),
    *("vit_base_patch16_dinov3", "deit3_base_patch16_224", "beit_base_patch16_224"),
    *("eva02_tiny_patch14_224", "efficientnet_b0_gn", "efficientnet_blur_b0", "efficientnet_cc_b0_4e"),
    *("efficientnet_es", "efficientnetv2_rw_t", "mobilenetv3_rw", "tf_mobilenetv3_small_minimal_100"),
    *("mobilenetv4_conv_small", "densenetblur121d", "repvgg_a0", "tf_resnet50", "resnet18_of_mine", "7"),
)


@pytest.mark.parametrize("architecture", ABSENT)
def test_an_architecture_of_timm_that_no_family_claims_is_refused(architecture):
    with pytest.raises(InputError, match=rf"calls it '{architecture}', which no model here .* nearest of timm's"):
        hf_config.names({"config.json": {"architecture": architecture + ".a1_in1k"}})


@pytest.mark.parametrize(
    ("architecture", "name", "fields"),
    [
        ("resnet50.a1_in1k", "resnet50", {}),
        ("gluon_resnet50_v1b", "resnet50", {}),
        ("tf_efficientnet_b0_ns", "efficientnet_b0", {"symmetric": False}),
        ("efficientnet_b5", "efficientnet_b5", {"symmetric": True, "eps": 1e-5}),
        ("mobilenetv2_050", "mobilenet_v2", {"symmetric": True, "width": 0.5}),
        ("vit_base_patch16_384.augreg_in1k", "vit_base_patch16", {"image_size": 384}),
        ("vit_base_patch16_224_in21k", "vit_base_patch16", {"image_size": 224}),
        ("vit_small_patch8_224.dino", "vit_small_patch16", {"patch": 8}),
        ("vit_so400m_patch16_siglip_256", "vit_base_patch16_siglip", {"activation": "gelu_new", "mlp_dim": 4304}),
        ("vit_base_patch32_siglip_256.v2_webli", "vit_base_patch16_siglip", {"activation": "gelu_new", "patch": 32}),
        ("vit_large_patch16_siglip_512", "vit_base_patch16_siglip", {"activation": "gelu_new", "width": 1024}),
        ("vit_base_patch32_clip_224.openai", "clip_image_base_patch32", {"activation": "gelu"}),
        ("vit_base_patch32_clip_quickgelu_224", "clip_image_base_patch32", {"activation": "quick_gelu"}),
        ("convnext_xlarge", "convnext_large", {"widths": (256, 512, 1024, 2048)}),
        ("swin_base_patch4_window12_384", "swin_base_384", {}),
    ],
)
def test_what_names_and_shapes_do_not_show_comes_from_the_architecture(architecture, name, fields):
    files = {"config.json": {"architecture": architecture}}
    told = hf_config.fields(files)
    assert hf_config.names(files) == [name]
    assert {key: told[key] for key in fields} == fields


@pytest.mark.parametrize(
    ("architecture", "args"),
    [
        ("vgg11", {"act_layer": "gelu"}),
        ("densenet121", {"act_layer": "gelu"}),
        ("convnext_tiny", {"act_layer": "relu"}),
        ("efficientnet_b0", {"act_layer": "relu"}),
        ("densenet121", {"global_pool": "max"}),
        ("convnext_tiny", {"norm_eps": 1e-3}),
        ("vit_tiny_patch16_224", {"qkv_bias": False}),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}),
        ("vit_tiny_patch16_224", {"norm_layer": "layernormfp32"}),
        ("vit_base_patch32_clip_224", {"global_pool": "avg"}),
        ("swin_tiny_patch4_window7_224", {"mlp_ratio": 2.0}),
        ("swin_tiny_patch4_window7_224", {"window_size": [4, 8]}),
        ("mobilenetv3_small_100", {"se_from_exp": False}),
    ],
)
def test_an_argument_of_timm_that_changes_numbers_is_read_or_refused(architecture, args):
    (name,) = args
    with pytest.raises(InputError, match=f"config.json: model_args has {name}="):
        hf_config.fields({"config.json": {"architecture": architecture, "model_args": args}})


def test_a_square_window_may_be_written_as_a_pair():
    config = {"architecture": "swin_tiny_patch4_window7_224", "model_args": {"window_size": [4, 4]}}
    assert hf_config.fields({"config.json": config})["window"] == 4


def test_a_pooling_of_timms_counts_wherever_it_stands():
    """timm makes a model with the one of `pretrained_cfg` where `model_args` has none."""
    for architecture in ("resnet18", "swin_tiny_patch4_window7_224", "mobilenetv2_050", "vgg11"):
        for pretrained in ({"pretrained_cfg": {"global_pool": "max"}}, {"global_pool": "max"}):
            with pytest.raises(InputError, match="has global_pool='max'"):
                hf_config.fields({"config.json": {"architecture": architecture, **pretrained}})
    config = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"global_pool": "avg"}}
    assert hf_config.fields({"config.json": config})["pooling"] == "mean"
    assert hf_config.fields({"config.json": config | {"model_args": {"global_pool": "token"}}})["pooling"] == "cls"


def test_a_distilled_model_reads_its_two_tokens_alone(tmp_path):
    args = {"embed_dim": 32, "depth": 2, "num_heads": 4, "patch_size": 8, "img_size": 32, "global_pool": "avg"}
    config = {"architecture": "deit_tiny_distilled_patch16_224", "model_args": args}
    folder = write(tmp_path / "deit", config, "deit_timm_32")
    with pytest.raises(InputError, match="pooling='mean': the two classifiers of a distilled model read its class"):
        weights.restore(folder)


def test_arguments_of_training_change_nothing():
    args = {"drop_rate": 0.3, "drop_path_rate": 0.1, "attn_drop_rate": 0.1, "act_layer": None}
    hf_config.fields({"config.json": {"architecture": "densenet121", "model_args": args}})


KINDS = (
    *("granite", "olmo", "cohere", "stablelm", "gemma3_text", "phi", "electra", "ernie", "xmod"),
    *("data2vec-text", "xlm", "convnextv2", "swinv2", "vit_msn", "beit", "regnet", "dinov2_with_registers"),
    *("siglip", "switch_transformers", "opt", "rwkv"),
)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        *(({"model_type": kind}, f"calls it '{kind}'") for kind in KINDS),
        ({"architectures": ["GraniteForCausalLM"]}, "calls it 'GraniteForCausalLM'"),
        ({"model_type": "bert", "architectures": ["NomicBertModel"]}, "no class of transformers' bert"),
        ({"model_type": "llama", "architectures": ["LlamaBidirectionalModel"]}, "no class of transformers' llama"),
        ({"model_type": "vit", "architectures": ["ViTMSNModel"]}, "no class of transformers' vit"),
    ],
)
def test_a_type_of_transformers_that_no_family_claims_is_refused(config, says):
    with pytest.raises(InputError, match=says):
        hf_config.names({"config.json": config})


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "camembert", "architectures": ["CamembertForMaskedLM"]}, "roberta"),
        ({"architectures": ["BertForMaskedLM"]}, "bert"),
        ({"architectures": ["XLMRobertaForTokenClassification"]}, "roberta"),
        ({"model_type": "t5", "architectures": ["MT5ForConditionalGeneration"]}, "t5"),
        ({"model_type": "clip", "architectures": ["CLIPVisionModelWithProjection"]}, "clip"),
        ({"model_type": "marian", "architectures": ["MarianMTModel"]}, "bart"),
        ({"model_type": "gpt2", "architectures": None}, "gpt2"),
    ],
)
def test_the_families_types_and_classes_are_known(config, family):
    assert hf_config.family_of({"config.json": config}) is getattr(maps, family)


VISION = {"image_size": 32, "patch_size": 8, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
LLAMA = {"vocab_size": 9, "max_position_embeddings": 9, "hidden_size": 8, "num_hidden_layers": 1}
LLAMA |= {"num_attention_heads": 2, "intermediate_size": 8, "rms_norm_eps": 1e-5}
EFFICIENT = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "image_size": 224}
B2 = {"width_coefficient": 1.1, "depth_coefficient": 1.2, "image_size": 260, "depthwise_padding": [5, 8, 16]}


@pytest.mark.parametrize(
    ("kind", "config", "changed"),
    [
        ("efficientnet", EFFICIENT, {"pooling_type": "max"}),
        ("efficientnet", EFFICIENT, {"strides": [1, 2, 2, 2, 2, 2, 1]}),
        ("efficientnet", EFFICIENT, {"squeeze_expansion_ratio": 0.5}),
        ("efficientnet", EFFICIENT, {"depthwise_padding": [3]}),
        ("efficientnet", B2, {"depthwise_padding": []}),
        ("mobilenet_v2", {"depth_multiplier": 1.0, "image_size": 224}, {"first_layer_is_expansion": False}),
        ("mobilenet_v2", {"depth_multiplier": 1.0, "image_size": 224}, {"expand_ratio": 4.0}),
        ("llama", LLAMA, {"partial_rotary_factor": 0.5}),
        ("llama", LLAMA, {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}}),
        ("llama", LLAMA, {"rope_scaling": {"type": "yarn", "factor": 2.0}}),
        ("gemma", LLAMA, {"hidden_act": "silu"}),
        ("gemma", LLAMA, {"hidden_activation": "relu"}),
    ],
)
def test_a_key_of_transformers_that_changes_numbers_is_refused(kind, config, changed):
    hf_config.fields(
        {
            "config.json": {"model_type": kind, **config}
            | ({"depthwise_padding": [5, 8, 16]} if config.get("image_size") == 260 else {})
        }
    )
    (name,) = changed
    with pytest.raises(InputError, match=f"config.json: .*{'rope_|partial' if 'rope' in name else name}"):
        hf_config.fields({"config.json": {"model_type": kind, **config, **changed}})


@pytest.mark.parametrize(
    ("kind", "config", "field", "value"),
    [
        ("efficientnet", EFFICIENT | {"batch_norm_eps": 1e-2}, "eps", 1e-2),
        ("convnext", {"depths": [1], "hidden_sizes": [8], "layer_norm_eps": 1e-3}, "pool_eps", 1e-3),
        ("convnext", {"depths": [1], "hidden_sizes": [8]}, "pool_eps", 1e-12),
        ("dinov2", VISION | {"layerscale_value": 1.0}, "eps", 1e-6),
        ("vit", VISION | {"intermediate_size": 9}, "eps", 1e-12),
        ("vit", VISION | {"intermediate_size": 9, "patch_size": 14}, "layer_scale", None),
        ("mistral", LLAMA | {"num_attention_heads": 16, "hidden_size": 32}, "num_kv_heads", 8),
        ("gemma2", LLAMA | {"num_attention_heads": 8}, "num_kv_heads", 4),
        ("gemma", LLAMA, "pad", 0),
    ],
)
def test_a_key_of_transformers_is_read_and_has_its_default(kind, config, field, value):
    assert hf_config.fields({"config.json": {"model_type": kind, **config}})[field] == value


def test_shapes_decide_nothing_against_a_stated_name(tmp_path, capsys):
    folder = write(tmp_path / "weights", {"architecture": "resnetblur18"}, "resnet18_timm")
    says = "calls it 'resnetblur18', which no model here is known to compute"
    config = config_of(folder)
    for name in ("", "resnet18"):
        config.model.name = name
        with pytest.raises(InputError, match=says):
            build.prepare(config, tmp_path / "run")
    with pytest.raises(InputError, match=says):
        weights.load(folder, models.create("resnet18", references.CLASSES))
    with pytest.raises(SystemExit) as caught:
        run_command(convert.main, ["convert", str(folder), str(tmp_path / "new"), "--model=resnet18"])
    assert (caught.value.code, capsys.readouterr().err.count("\n")) == (2, 1)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_family_than_the_source_says_is_refused(tmp_path):
    files = {"model_type": "bert", "architectures": ["BertModel"]}
    size = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(files | size | {"intermediate_size": 8}))
    save_file({"embeddings.word_embeddings.weight": np.zeros((9, 8), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="calls it BertModel, bert, which is BERT here, not RoBERTa"):
        weights.describe(tmp_path, model="roberta_base")


def test_of_a_pair_the_tower_that_is_named_is_read():
    towers = {"vision_config": {"hidden_size": 24, "patch_size": 8}, "text_config": {"hidden_size": 16}}
    files = {"config.json": {"model_type": "clip", "projection_dim": 7, **towers}}
    for name, width in (("clip_image_base_patch32", 24), ("clip_text_base", 16), ("clip_base_patch32", 24)):
        assert hf_config.fields(files, type(models.create(name)))["width"] == width
