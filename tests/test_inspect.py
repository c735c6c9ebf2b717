"""What a checkpoint is, is told from its header and the files beside it, without reading a tensor."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
import references
from safetensors.numpy import save_file

from jtransfer import inspect, models, weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.weights import formats, listing
from jtransfer.weights.identify import sidecar_files
from jtransfer.weights.identify.detect import detect

SAME, UNKNOWN = {"symmetric": False}, ("symmetric", "eps")
PYTORCH = {"symmetric": True, "eps": 1e-5}


@pytest.mark.parametrize(
    ("case", "called", "model", "scheme", "fields", "unsure"),
    [
        ("resnet18_timm", (), "resnet18", "torchvision", {}, ()),
        ("resnet50_transformers", (), "resnet50", "transformers", {}, ()),
        ("vgg11_bn_full", (), "vgg11_bn", "torchvision", {}, ()),
        ("efficientnet_lite1_package", (), "efficientnet_lite1", "efficientnet_lite_pytorch", {}, ()),
        ("efficientnet_lite0_timm", ("tf_efficientnet_lite0.in1k",), "efficientnet_lite0", "timm", SAME, ()),
        ("efficientnet_lite0_ra", ("efficientnet_lite0",), "efficientnet_lite0", "timm", PYTORCH, ()),
        ("mobilenet_v3_small_timm_64", (), "mobilenet_v3_small", "timm", {}, UNKNOWN),
        ("mobilenet_v3_small_tf_75", ("tf_mobilenetv3_small_100",), "mobilenet_v3_small", "timm", SAME, ()),
        ("mobilenet_v3_large_torchvision_64", (), "mobilenet_v3_large", "torchvision", {}, ()),
    ],
)
def test_the_model_is_told_by_names_and_shapes(case, called, model, scheme, fields, unsure):
    found = detect(references.load(case).tensors, called)
    assert (found.model, found.scheme, found.unsure, found.misfits) == (model, scheme, unsure, 0)
    assert found.fields == {"num_classes": references.CLASSES, **fields}


def test_what_fits_no_model_exactly_is_called_the_nearest_and_what_is_foreign_nothing():
    near = detect(references.load("convnext_timm_75").tensors, ("convnext_tiny",))
    assert (near.model, near.scheme) == ("convnext_tiny", "timm")
    assert "stage1/block2/conv/kernel" in near.missing
    assert "stem/conv/kernel" in near.reshaped
    assert not near.unexpected
    assert detect({f"encoder.{i}.weight": np.zeros(1) for i in range(9)}) is None


@pytest.fixture
def checkpoint(tmp_path):
    tensors = {name: tensor.read() for name, tensor in references.load("densenet_files_75").tensors.items()}
    save_file(tensors | {"a\nb": np.zeros((2, 3), np.float16)}, tmp_path / "model.safetensors")
    return tmp_path


def test_the_table_is_made_without_reading_a_tensor(checkpoint, monkeypatch):
    monkeypatch.setattr(formats.Lazy, "read", lambda self: pytest.fail("a tensor is read"))
    config = {"architecture": "densenet121", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}
    config["pretrained_cfg"] |= {"input_size": [3, 288, 288], "crop_pct": 0.95, "interpolation": "bicubic"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    title, header, *rows = listing.lines(str(checkpoint))
    assert re.search(r"safetensors, 128 tensors, \d+\.\d KiB$", title)
    assert header.split() == ["name", "dtype", "shape", "bytes"]
    assert next(row for row in rows if "conv0" in row).split() == [
        *("features.conv0.weight", "float32", "[16,", "3,", "7,", "7]", "9,408")
    ]
    assert any(re.match(r"  'a\\nb' +float16 +\[2, 3\] +12$", row) for row in rows)
    text = "\n".join(rows)
    assert "model: densenet121, num_classes=10 (torchvision_files names): the nearest" in text
    assert "unexpected: 'a\\nb'" in text
    assert rows[-1] == (
        "preprocessing (config.json): mean 0.5 0.5 0.5, std 0.25 0.25 0.25, crop 0.95, interpolation bicubic, "
        "transform resize_short(303, 'bicubic', 'pillow')|center_crop(288), size 288"
    )


@pytest.mark.parametrize(
    ("sizes", "crop", "size", "transform"),
    [
        ({"size": 224, "crop_size": 200, "do_center_crop": False}, 1.0, 224, "resize(224, 'bicubic', 'pillow')"),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            0.875,
            224,
            "resize_short(256, 'bicubic', 'pillow')|center_crop(224, rounding='down')",
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
            0.875,
            224,
            "resize_short(256, 'bicubic', 'pillow')|center_crop(224, rounding='down')",
        ),
        ({"size": {"height": 384, "width": 384}}, 1.0, 384, "resize(384, 'bicubic', 'pillow')"),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.9}, 1.0, 384, "resize(384, 'bicubic', 'pillow')"),
    ],
)
def test_the_forms_of_transformers_processors_are_understood(sizes, crop, size, transform):
    content = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "resample": 3, **sizes}
    found, origin = sidecar_files.preprocessing({"preprocessor_config.json": content})
    assert origin == "preprocessor_config.json"
    assert found == {
        "mean": (0.1, 0.2, 0.3),
        "std": (1, 1, 1),
        "crop": crop,
        "interpolation": "bicubic",
        "transform": transform,
        "rounding": "down",
        "size": size,
    }


def test_a_processor_of_another_form_is_an_error_and_none_is_none():
    assert sidecar_files.preprocessing({"config.json": {"model_type": "bert"}}) is None
    for sizes in ({"size": None}, {"size": "large"}, {"size": {"longest_edge": 3}}, {"size": 3, "resample": 17}):
        with pytest.raises(InputError, match="preprocessing has an unknown form"):
            sidecar_files.preprocessing({"preprocessor_config.json": {"image_mean": [0], "image_std": [1], **sizes}})


def test_bad_input_is_one_line_and_exit_code_2(checkpoint, capsys):
    (checkpoint / "text.bin").write_text("no weights")
    (checkpoint / "config.json").write_text("{broken")
    for arguments, says in [
        ([], "give one source"),
        ([str(checkpoint / "absent.pth")], "the path does not exist"),
        ([str(checkpoint / "text.bin")], "is of no format that is read"),
        ([str(checkpoint / "model.safetensors")], "config.json: JSON is damaged"),
        (["--color", "x"], "color"),
    ]:
        with pytest.raises(SystemExit) as caught:
            run_command(inspect.main, ["inspect", *arguments])
        output = capsys.readouterr()
        assert caught.value.code == 2
        assert (output.out, output.err.count("\n")) == ("", 1)
        assert says in output.err


def test_a_plain_vit_is_told_and_that_its_preprocessing_is_not():
    model = models.create("vit_small_patch16", 7)
    shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
    tensors = weights.to_tensors(zeros, model)
    found = detect(tensors)
    assert found is not None
    made = models.create(found.model, **found.fields)
    assert (dataclasses.replace(made, pixels=model.pixels), found.unsure) == (model, ("pixels",))
    named = detect(tensors, aliases=["vit_small_patch16_224"])
    assert named is not None
    assert (named.model, named.unsure) == ("vit_small_patch16", ())
