"""What is exported comes back bit for bit, and gives the same logits in the libraries it is exported to."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import references
from safetensors.numpy import load_file

from jtransfer import config as configs
from jtransfer import export as command
from jtransfer import models, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.exporting.program import PLATFORMS
from jtransfer.training import checkpoint
from jtransfer.weights import libraries, maps
from jtransfer.weights.identify import hf_config, manifest

CLASSES = tuple(f"kind {i}" for i in range(references.CLASSES))
PIXELS = models.chain.Pixels(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), crop=0.9, interpolation="bicubic")


def store(case, folder):
    """A checkpoint of ours with the weights of a stored reference."""
    reference = references.load(case)
    fields = ({"image_size": reference.size, "pixels": PIXELS} if reference.size else {}) | reference.fields
    model = models.create(reference.model, references.CLASSES, **fields)
    variables, report = weights.load(reference.tensors, model)
    folder.mkdir(parents=True)
    weights.save(variables, model, folder / "model.safetensors", scheme="jtransfer")
    manifest.write(folder, manifest.describe(reference.model, model, report, CLASSES))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return store("convnext_timm_75", tmp_path_factory.mktemp("source") / "convnext")


def assert_same(a, b):
    a, b = trees.flatten(a), trees.flatten(b)
    assert sorted(a) == sorted(b)
    for path, leaf in a.items():
        np.testing.assert_array_equal(leaf, b[path], err_msg=path)


@pytest.mark.parametrize("format", ["hf", "timm", "torchvision", "safetensors", "npz"])
def test_what_is_exported_comes_back_bit_for_bit(format, source, tmp_path):
    model, variables, report = weights.restore(source)
    export.export(source, tmp_path / "new", format)
    again, back, _ = weights.restore(tmp_path / "new")
    assert again == model
    assert_same(variables, back)
    if format in ("hf", "timm"):
        (tmp_path / "new" / "source.json").unlink()
        again, back, report = weights.restore(tmp_path / "new")
        assert (again.pixels.mean, again.pixels.std, again.sides) == (PIXELS.mean, PIXELS.std, (75, 75))
        assert again.pixels.transform.startswith("resize_short(83, 'bicubic', 'pillow')|center_crop(75")
        assert (again.depths, again.widths) == (model.depths, model.widths)
        assert_same(variables, back)
        assert (report.reinitialised, report.ignored) == ((), ())
        assert weights.describe(tmp_path / "new").class_names == CLASSES


def test_numpy_reads_the_parameters_by_our_paths(source, tmp_path):
    export.export(source, tmp_path / "new", "npz")
    with np.load(tmp_path / "new" / "model.npz") as file:
        assert_same(dict(file), trees.flatten(weights.restore(source)[1]))


def test_batch_norms_have_the_counters_that_torch_asks_for():
    added = libraries.buffers(["bn.running_var", "bn.weight", "fc.weight"])
    assert list(added) == ["bn.num_batches_tracked"]
    assert (added["bn.num_batches_tracked"].dtype, added["bn.num_batches_tracked"].shape) == (np.int64, ())


def run_as_shown(folder, inputs):
    """What the README's loader leaves behind."""
    (loader,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "stablehlo" in block)
    found = {"inputs": inputs}
    exec(loader.replace("DEST", str(folder)), found)
    return found


def test_a_stablehlo_program_runs_without_the_model(source, tmp_path):
    export.export(source, tmp_path / "new", "stablehlo")
    images = np.random.default_rng(0).integers(0, 256, (3, 75, 75, 3), np.uint8)
    found = run_as_shown(tmp_path / "new", images)
    model, variables, _ = weights.restore(source)
    prepared = (images / 255 - np.asarray(PIXELS.mean)) / np.asarray(PIXELS.std)
    expected = jax.jit(model.apply)(variables, prepared.astype(np.float32))
    np.testing.assert_allclose(found["logits"], expected, rtol=0, atol=1e-5)
    program = found["program"]
    assert program.platforms == PLATFORMS
    assert "feature_group_count = 8" in program.mlir_module()  # XLA's own depthwise convolution, for all but the CPU


README = (Path(__file__).parent.parent / "README.md").read_text()


SMALL = {"vocab_size": 50, "max_length": 16, "width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32}
TEXTS = {
    "bert_base": {**SMALL, "head": "embed"},
    "gpt2": SMALL,
    "t5_small": {
        "vocab_size": 50,
        "width": 16,
        "depth": 1,
        "num_heads": 2,
        "head_dim": 8,
        "mlp_dim": 32,
        "decoder_depth": 1,
    },
}


def texts(name, length):
    """Two texts, the second of which is padded, for a model and, where it has one, its decoder."""
    ids = np.random.default_rng(0).integers(1, 50, (2, length), np.int32)
    mask = np.ones_like(ids)
    mask[1, length // 2 :] = 0
    found = {"input_ids": ids, "attention_mask": mask}
    if name == "t5_small":
        found |= {"decoder_input_ids": ids[:, :4], "decoder_attention_mask": mask[:, :4]}
    return found | ({"token_type_ids": ids % 2} if name == "bert_base" else {})


@pytest.mark.parametrize("name", TEXTS)
def test_models_of_texts_are_exported_with_their_tokenizer(name, tmp_path):
    model = models.create(name, **TEXTS[name])
    variables = jax.device_get(jax.jit(model.init)(jax.random.key(0), model.example_input(1)))
    flat = {path.split("/", 1)[1]: leaf for path, leaf in trees.flatten(variables).items()}
    (tmp_path / "source").mkdir()
    weights.save(variables, model, tmp_path / "source" / "model.safetensors", scheme="jtransfer")
    manifest.write(tmp_path / "source", manifest.describe(name, model, weights.load(flat, model)[1]))
    (tmp_path / "source" / "tokenizer.json").write_text("{}")
    export.export(tmp_path / "source", tmp_path / "hf", "hf")
    assert (tmp_path / "hf" / "tokenizer.json").read_text() == "{}"
    assert not (tmp_path / "hf" / "preprocessor_config.json").exists()
    assert "id2label" not in json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "source.json").unlink()
    again, back, report = weights.restore(tmp_path / "hf")
    assert again == model
    assert report.reinitialised == ()
    assert all(name.startswith("pooler.") for name, _ in report.ignored)  # which transformers' BertModel asks for
    assert_same(variables, back)
    export.export(tmp_path / "source", tmp_path / "program", "stablehlo")
    for length in (6, 11):
        inputs = texts(name, length)
        found = run_as_shown(tmp_path / "program", inputs)["logits"]
        np.testing.assert_allclose(found, jax.jit(model.apply)(variables, inputs), rtol=0, atol=1e-5)


def test_a_pair_of_images_and_texts_is_exported(tmp_path):
    case = references.load("clip_pair_transformers_32")
    source = store(case.case, tmp_path / "source")
    export.export(source, tmp_path / "new", "stablehlo")
    model, variables, _ = weights.restore(source)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    prepared = ((images / 255 - np.asarray(PIXELS.mean)) / np.asarray(PIXELS.std)).astype(np.float32)
    ids = np.concatenate([case.inputs["input_ids"]] * 2)
    inputs = {"image": images, "input_ids": ids, "attention_mask": np.ones_like(ids)}
    found = run_as_shown(tmp_path / "new", inputs)["logits"]
    assert found.shape == (3, 4)
    expected = jax.jit(model.apply)(variables, inputs | {"image": prepared})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that took one step."""
    config = configs.default()
    config.model.name = "resnet18"
    config.model.fields = {"depths": (1, 1, 1, 1), "image_size": 32}
    config.data.train, config.data.test = "train[:8]", "test[:8]"
    config.data.transform = "resize(32)|normalize(((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))"
    config.batch_size = 8
    config.phases = [configs.phase("head", trainable="head/.*", steps=1)]
    folder = tmp_path_factory.mktemp("exported") / "run"
    train.run(config, folder)
    return folder


def test_a_run_is_exported_with_its_classes_and_its_preprocessing(run, tmp_path, capsys):
    run_command(command.main, ["export", str(run), str(tmp_path / "new"), "--format=hf", "--step=1"])
    assert "(hf)" in capsys.readouterr().out
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert list(config["id2label"].values()) == json.loads((run / "classes.json").read_text())["class_names"]
    assert config["depths"] == [1, 1, 1, 1]
    assert "resnet.encoder.stages.0.layers.0.layer.0.normalization.num_batches_tracked" in load_file(
        tmp_path / "new" / "model.safetensors"
    )
    processor = json.loads((tmp_path / "new" / "preprocessor_config.json").read_text())
    assert (processor["image_mean"], processor["image_std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    model, back, _ = weights.restore(tmp_path / "new")
    np.testing.assert_allclose(model.pixels.mean, (0.1, 0.2, 0.3))
    np.testing.assert_allclose(model.pixels.std, (0.4, 0.5, 0.6))
    assert_same(checkpoint.load_params(run), back)


def test_a_step_that_was_not_kept_is_not_exported(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_command(command.main, ["export", str(run), str(tmp_path / "new"), "--format=npz", "--step=20"])
    assert "has no checkpoint of step 20; it has 1" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "fields", "library", "says"),
    [
        ("efficientnet_b0", {}, libraries.transformers, "pads as TensorFlow"),
        ("efficientnet_b0", {"width": 0.5}, libraries.timm, "with width=1.0 only"),
        ("vgg11", {"width": 64}, libraries.timm, "with width=4096 only"),
        ("mobilenet_v2", {"width": 0.3}, libraries.timm, "a width of 0.35, 0.5"),
        ("mobilenet_v2", {"width": 0.25}, libraries.transformers, "no residual in its first block"),
        ("densenet121", {"growth": 8}, libraries.timm, "not 64 with growth=8"),
        (
            "vgg11",
            {},
            libraries.transformers,
            "transformers has no VGG that is known here; there are names for torchvision, timm",
        ),
        ("vit_tiny_patch16", {"pooling": "cls+mean"}, libraries.timm, "has pooling='cls' or 'mean'"),
        ("dinov2_small", {}, libraries.transformers, "dinov2 has pooling='cls\\+mean'"),
        ("swin_tiny", {"image_size": (224, 448)}, libraries.transformers, "no windows of 7 in a map of 7×14"),
        ("swin_large", {}, lambda name, model, _: maps.swin.torchvision(name, model), "torchvision has no swin_large"),
    ],
)
def test_a_model_that_the_library_does_not_have_is_refused(name, fields, library, says):
    with pytest.raises(InputError, match=says):
        library(name, models.create(name, **fields), ())


def test_a_swin_of_transformers_that_shifts_no_windows_is_refused():
    config = libraries.transformers("swin_tiny", models.create("swin_tiny"), ())
    assert hf_config.fields({"config.json": config})["image_size"] == 224
    with pytest.raises(InputError, match="no windows of 7 in a map of 7×14, the models here do"):
        hf_config.fields({"config.json": config | {"image_size": [224, 448]}})


@pytest.mark.parametrize(
    ("name", "fields", "architecture", "args"),
    [
        ("resnet50", {}, "resnet50", None),
        ("resnet18", {"depths": (1, 1, 1, 1)}, "resnet18", {"layers": [1, 1, 1, 1]}),
        ("efficientnet_b0", {}, "efficientnet_b0", None),
        ("efficientnet_b0", {"symmetric": False}, "tf_efficientnet_b0", None),
        ("efficientnet_b5", {}, "efficientnet_b5", {"bn_eps": 1e-3}),
        ("efficientnet_lite0", {}, "tf_efficientnet_lite0", None),
        ("mobilenet_v2", {"width": 0.5}, "mobilenetv2_050", None),
        ("mobilenet_v3_large", {"eps": 1e-5}, "mobilenetv3_large_100", None),
        ("mobilenet_v3_small", {}, "mobilenetv3_small_100", {"bn_eps": 1e-3}),
        ("vgg11", {"channels": 1}, "vgg11", {"in_chans": 1}),
        ("vit_base_patch16", {"image_size": 384}, "vit_base_patch16_224", {"img_size": 384}),
        ("vit_base_patch16", {"pooling": "mean"}, "vit_base_patch16_224", {"global_pool": "avg"}),
        ("dinov2_base", {}, "vit_base_patch14_dinov2", None),
    ],
)
def test_timms_name_and_arguments(name, fields, architecture, args):
    config = libraries.timm(name, models.create(name, 10, **fields), ())
    assert (config["architecture"], config.get("model_args")) == (architecture, args)


def refused(*argv):
    with pytest.raises(SystemExit) as stopped:
        run_command(command.main, ["export", *map(str, argv)])
    return stopped.value.code


def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(source, tmp_path, capsys):
    for argv, says in [
        ([source, source, "--format=hf"], "exists and is not empty"),
        ([source, tmp_path / "new", "--format=timmm"], "unknown format 'timmm'; nearest: timm"),
        ([source, tmp_path / "new"], "--format=hf|timm"),
        ([source, tmp_path / "new", "--format=hf", "--step=3"], "is not the folder of a run; leave --step out"),
        ([tmp_path / "none", tmp_path / "new", "--format=hf"], "the path does not exist"),
    ]:
        assert refused(*argv) == 2
        err = capsys.readouterr().err
        assert says in err
        assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


LIVE = """
import json, sys
import make_references, references
import numpy as np, timm, torch, torchvision, transformers
from safetensors.torch import load_file

def load(format, folder, case):
    if format == "hf":
        (name,) = json.load(open(folder + "/config.json"))["architectures"]
        found, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), info
        if "ForImageClassification" in name:
            transformers.AutoImageProcessor.from_pretrained(folder)
        return found
    if format == "timm":
        return timm.create_model("local-dir:" + folder, pretrained=True)
    if "torchvision" in case:
        found = make_references.CASES[case][-1]()
    else:
        found = torchvision.models.get_model(references.load(case).model, num_classes=references.CLASSES)
    found.load_state_dict(load_file(folder + "/model.safetensors"), strict=True)
    return found

for line in sys.stdin:
    format, folder, case = line.split()
    reference = references.load(case)
    model, inputs = load(format, folder, case).eval(), make_references.as_torch(reference.inputs)
    if format == "hf":
        named = inputs if isinstance(inputs, dict) else {"image" if inputs.ndim == 4 else "input_ids": inputs}
        inputs = {{"image": "pixel_values"}.get(name, name): x for name, x in named.items()}
    with torch.no_grad():
        given = model(**inputs) if format == "hf" else {"logits": model(inputs)}
    names = ("logits", "logits_per_image", "image_embeds", "text_embeds")
    logits = next(given[name] for name in names if name in given)
    print(json.dumps([format, case, float(np.abs(logits.numpy() - reference.logits).max())]))
"""

EXPORTS = {
    "hf": [
        "convnext_timm_75",
        "resnet18_transformers",
        "efficientnet_b0_transformers_96",
        "mobilenet_v2_transformers_75",
        "vit_timm_32",
        "deit_transformers_48",
        "deit_alone_transformers_32",
        "resnet_v1_hf",
        "dinov2_transformers_48",
        "swin_transformers_32",
        "swin_transformers_84",
        "clip_image_transformers_48",
        "clip_text_transformers",
        "clip_text_openai",
        "clip_pair_transformers_48",
        "clip_pair_openai",
    ],
    "timm": [
        "vit_transformers_48",
        "vit_mean_timm_48",
        "deit_timm_32",
        "deit_alone_timm_32",
        "seresnext26t_32x4d_thin",
        "dinov2_timm_48",
        "convnext_transformers_75",
        "resnet18_torchvision",
        "efficientnet_lite0_ra",
        "efficientnet_lite0_package",
        "mobilenet_v3_small_tf_75",
        "mobilenet_v3_small_timm_64",
        "mobilenet_v3_small_torchvision_64",
        "densenet_timm_64",
        "swin_timm_84",
        "swin_transformers_32",
        "swin_microsoft_64",
        "clip_image_transformers_32",
        "clip_image_timm_48",
        "clip_image_timm_gelu",
    ],
    "torchvision": [
        "resnet18_timm",
        "mobilenet_v3_small_torchvision_64",
        "swin_torchvision_64",
        "swin_torchvision_84",
    ],
}


@pytest.mark.live
def test_the_libraries_load_it_strictly_and_give_the_same_logits(tmp_path):
    wanted = []
    for format, cases in EXPORTS.items():
        for case in cases:
            stored = tmp_path / "sources" / case
            folder = tmp_path / format / case
            export.export(stored if stored.exists() else store(case, stored), folder, format)
            wanted.append((format, str(folder), case))
    done = subprocess.run(
        [sys.executable, "-c", LIVE],
        input="\n".join(map(" ".join, wanted)),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {(format, case): worst for format, case, worst in map(json.loads, done.stdout.splitlines())}
    assert set(found) == {(format, case) for format, _, case in wanted}
    assert max(found.values()) <= 1e-4, found
