"""What processor files of transformers, timm and OpenCLIP say of images gives the pixels that these libraries make."""

import json
import shutil

import jax
import make_pixel_references as made
import numpy as np
import PIL.Image
import pytest
from safetensors.numpy import save_file

from jtransfer import config as configs
from jtransfer import models, weights
from jtransfer.core.errors import InputError
from jtransfer.modalities.image.modality import Image
from jtransfer.models.chain import Pixels
from jtransfer.runs import build
from jtransfer.weights import libraries
from jtransfer.weights.identify import sidecar_files
from jtransfer.weights.maps import open_clip


def files_of(library, content):
    if library == "transformers":
        return {"preprocessor_config.json": content, "config.json": {"model_type": "swin"}}
    if library == "open_clip":
        tower = {"vision_cfg": {"image_size": content.get("size", 24)}, "text_cfg": {}}
        content = open_clip.read({"model_cfg": tower, "preprocess_cfg": content})["pretrained_cfg"]
    return {"config.json": {"architecture": "resnet18", "pretrained_cfg": content}}


def pipeline_of(files, **fields):
    found, _ = sidecar_files.preprocessing(files)
    pixels = Pixels.of({key: value for key, value in found.items() if key != "size"})
    model = models.create("resnet18", 2, pixels=pixels, image_size=found.get("size", 24), **fields)
    return Image().pipeline(model, train=False)


def assert_same_pixels(pipeline, pictures, theirs, span=1.0):
    """Equal to one step of 255 before they are normalised; `span` is the width of a step of what was stored."""
    mean, std = np.array(pipeline.mean), np.array(pipeline.std)
    for i, (picture, expected) in enumerate(zip(pictures, theirs, strict=True)):
        ours = pipeline.host(picture).astype(float)
        step = 33 if ours.shape[0] > 100 else 1
        wanted = 255 * (expected * std + mean)
        assert ours[::step, ::step].shape == wanted.shape, i
        np.testing.assert_allclose(ours[::step, ::step], wanted, rtol=0, atol=1.02 + span, err_msg=str(i))


def stored(library):
    with np.load(made.PLACE / f"{library}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("library", "case"), [(library, case) for library, (cases, _) in made.MAKERS.items() for case in cases]
)
def test_the_pixels_are_those_of_the_library(library, case):
    arrays = stored(library)
    pipeline = pipeline_of(files_of(library, json.loads(str(arrays[f"{case}/file"]))))
    low, high = arrays[f"{case}/range"]
    theirs = [arrays[f"{case}/{i}"] / 255 * (high - low) + low for i in range(4)]
    assert_same_pixels(pipeline, made.images(), theirs, span=255 * (high - low) * max(pipeline.std) / 510)


VIT = made.processor("ViT", made.HALF, made.SQUARE)
REFUSED = {
    "do_pad": VIT | {"do_pad": True, "pad_size": {"height": 32, "width": 32}},
    "longest_edge": VIT | {"size": {"shortest_edge": 24, "longest_edge": 32}},
    "max_height": VIT | {"size": {"max_height": 24, "max_width": 32}},
    "size=None": VIT | {"size": None},
    "resample=17": VIT | {"resample": 17},
    "do_resize='yes'": VIT | {"do_resize": "yes"},
    "image_mean=None": VIT | {"image_mean": None},
    "size_divisor=32": VIT | {"size_divisor": 32},
    "do_flip_channel_order=True": VIT | {"do_flip_channel_order": True},
    "MobileViTImageProcessor": VIT | {"image_processor_type": "MobileViTImageProcessor"},
    "ConvNextImageProcessor": VIT | {"image_processor_type": "ConvNextImageProcessor"},
    "crop_mode='tile'": made.BASE | {"crop_mode": "tile"},
    "interpolation='random'": made.BASE | {"interpolation": "random"},
    "channel_order='bgr'": made.BASE | {"channel_order": "bgr"},
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_no_transform_here_does_is_refused_by_name(named):
    content = REFUSED[named]
    timm = {"config.json": {"pretrained_cfg": content}}
    files = timm if "input_size" in content else {"preprocessor_config.json": content}
    with pytest.raises(InputError, match="preprocessing has an unknown form") as error:
        sidecar_files.preprocessing(files)
    assert named in str(error.value)
    assert "model.fields.pixels" in str(error.value)


def test_a_processor_inside_of_processor_config_counts_first():
    files = {
        "processor_config.json": {"image_processor": VIT | {"size": 12}, "processor_class": "CLIPProcessor"},
        "preprocessor_config.json": VIT,
    }
    found, name = sidecar_files.preprocessing(files)
    assert (found["size"], name) == (12, "processor_config.json")
    old = {**files, "processor_config.json": {"processor_class": "CLIPProcessor"}}
    assert sidecar_files.preprocessing(old)[1] == "preprocessor_config.json"


def test_what_prepares_sounds_says_nothing_of_images():
    sounds = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "sampling_rate": 16000}
    assert sidecar_files.preprocessing({"preprocessor_config.json": sounds}) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (42, "resize_short(size=48, method='bicubic', library='pillow')|center_crop(size=42, rounding='down')"),
        (
            (21, 42),
            "resize_cover(size=(24, 48), method='bicubic', library='pillow')|"
            "center_crop(size=(21, 42), rounding='down')",
        ),
    ],
)
def test_for_images_of_another_size_all_sizes_change(size, text):
    bit = made.processor("Bit", made.IMAGENET, size={"shortest_edge": 96}, crop_size=84, resample=3)
    found, _ = sidecar_files.preprocessing({"preprocessor_config.json": bit})
    pixels = Pixels.of({key: value for key, value in found.items() if key != "size"})
    pipeline = Image().pipeline(models.create("resnet18", 2, pixels=pixels, image_size=size), train=False)
    assert pipeline.text == text


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A ViT as the hub has it, whose processor makes smaller images than its positions are for."""
    folder = tmp_path_factory.mktemp("hub")
    fields = {"patch": 16, "width": 8, "depth": 1, "num_heads": 2, "mlp_dim": 8, "eps": 1e-12, "image_size": 48}
    model = models.create("vit_tiny_patch16", 10, **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    save_file(libraries.tensors(variables, model, "transformers"), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(libraries.transformers("vit_tiny_patch16", model, ())))
    bit = made.processor("Bit", image_mean=[0.3] * 3, image_std=[0.2] * 3, size={"shortest_edge": 40}, crop_size=32)
    (folder / "preprocessor_config.json").write_text(json.dumps(bit))
    return folder, {key: value for key, value in fields.items() if key != "image_size"}


def prepared(source, tmp_path, **changes):
    config = configs.default()
    config.init, config.model.name = str(source), changes.pop("name", "")
    config.model.fields = changes.pop("fields", {})
    config.data.train, config.data.test, config.batch_size = "test[:16]", "test[:16]", 8
    config.data.eval_transform = changes.pop("eval_transform", "")
    config.phases = [configs.phase("head", trainable="head/.*", steps=1)]
    run = build.prepare(config, tmp_path / "run")
    return run, run.target.modality.pipeline(run.model, train=False)


def test_a_run_looks_at_images_as_the_processor_of_its_weights_does(source, tmp_path, capsys):
    folder, fields = source
    for changes in ({}, {"name": "vit_tiny_patch16", "fields": fields}):
        run, pipeline = prepared(folder, tmp_path, **changes)
        assert (run.model.sides, pipeline.size, pipeline.mean) == ((32, 32), (32, 32), (0.3, 0.3, 0.3))
        assert pipeline.text == "resize_short(40, 'bicubic', 'pillow')|center_crop(32, rounding='down')"
        assert json.loads(run.config.to_json())["model"]["fields"]["pixels"]["transform"] == pipeline.text
    assert "model.fields.image_size is 32" in capsys.readouterr().out


def test_what_a_config_says_otherwise_counts_and_is_printed(source, tmp_path, capsys):
    folder, fields = source
    _, pipeline = prepared(folder, tmp_path, eval_transform="resize(32)")
    assert pipeline.text == "resize(32)"
    assert "the weights say resize_short(size=40" in capsys.readouterr().out
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3, "transform": "resize(48)"}
    for changes in ({}, {"name": "vit_tiny_patch16"}):
        given = (fields if changes else {}) | {"pixels": pixels, "image_size": 48}
        run, pipeline = prepared(folder, tmp_path, fields=given, **changes)
        assert (run.model.sides, pipeline.text, pipeline.mean) == ((48, 48), "resize(48)", (0.5, 0.5, 0.5))
        _, report = weights.load(folder, run.model, adapt=True)
        assert any(line.startswith("! pixels: the model has") for line in report.conflicts)


def test_a_file_that_is_refused_is_passed_by_where_the_config_says_the_preprocessing(source, tmp_path):
    folder, _ = source
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    (bad / "preprocessor_config.json").write_text(json.dumps(REFUSED["size_divisor=32"]))
    with pytest.raises(InputError, match="size_divisor=32"):
        prepared(bad, tmp_path)
    run, pipeline = prepared(bad, tmp_path, fields={"pixels": {"mean": [0.5] * 3, "transform": "resize(48)"}})
    assert (run.model.sides, pipeline.text) == ((48, 48), "resize(48)")


@pytest.mark.live
def test_every_way_in_which_timms_models_prepare_images_gives_timms_pixels():
    import timm
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    keys = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
    contents = (get_pretrained_cfg(name).to_dict() for name in timm.list_pretrained())
    ways = {tuple(str(content.get(key)) for key in keys): content for content in contents}
    pictures = made.images()
    for i, content in enumerate(ways.values()):
        if max(content["input_size"]) > 300:
            continue
        stored = json.loads(json.dumps(content))
        picture, transform = pictures[i % 4], create_transform(**resolve_data_config({}, pretrained_cfg=stored))
        pipeline = pipeline_of({"config.json": {"architecture": "resnet18", "pretrained_cfg": stored}})
        theirs = transform(PIL.Image.fromarray(picture)).numpy().transpose(1, 2, 0)
        wanted = 255 * (theirs * np.array(pipeline.std) + np.array(pipeline.mean))
        np.testing.assert_allclose(pipeline.host(picture), wanted, rtol=0, atol=1e-2, err_msg=str(content))
