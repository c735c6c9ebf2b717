"""What an export says of images is what the run did with them."""

import json

import numpy as np
import pytest
from PIL import Image
from test_preprocessing_files import pipeline_of

from jtransfer import config as configs
from jtransfer import predict, train
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.modalities.image import processor_files, transforms

SHORT = "resize_short(48, 'bicubic', 'pillow')|center_crop(42{})"
EXACT = {  # (transform, library) → what its file says
    ("resize((32, 40), 'bicubic', 'pillow')", "transformers"): {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 40},
        "resample": 3,
        "do_center_crop": False,
    },
    ("resize(48, library='pillow')|center_crop(40)", "transformers"): {
        "image_processor_type": "DeiTImageProcessor",
        "size": {"height": 48, "width": 48},
        "resample": 2,
        "crop_size": {"height": 40, "width": 40},
    },
    (SHORT.format(", rounding='down'"), "transformers"): {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 48},
        "crop_size": {"height": 42, "width": 42},
    },
    ("resize_crop(32, 'bicubic', rounding='down')", "transformers"): {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "resample": 3,
    },
    ("resize_crop(32)", "timm"): {"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bilinear"},
    ("resize_crop((32, 40))", "timm"): {"crop_pct": 1.0, "crop_mode": "center"},
    ("center_crop(28, 0, 'down')", "transformers"): {"do_resize": False, "do_center_crop": True},
    (SHORT.format(""), "timm"): {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"},
    ("resize((32, 40), 'area', 'pillow')", "timm"): {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "box"},
    ("resize_cover((35, 44), library='pillow')|center_crop((32, 40))", "timm"): {"crop_mode": "center"},
    ("resize_fit(32, library='pillow')|center_crop(32, (124, 116, 104))", "timm"): {"crop_mode": "border"},
}
NEARLY = {
    ("resize(32, library='opencv')", "transformers"): "OpenCV",
    ("resize(32, library='opencv')", "timm"): "OpenCV",
    ("resize_crop(32)", "transformers"): "a pixel aside",
    ("resize_crop(32, 'nearest', 'opencv')", "timm"): "parts of a pixel",
    (SHORT.format(""), "transformers"): "a pixel aside",
    (SHORT.format(", rounding='down'"), "timm"): "a pixel aside",
    ("resize(32, 'nearest')", "transformers"): "as near",
    ("resize(32, 'nearest-exact')", "timm"): "as near",
}
STRANGE = {
    "transformers": (
        "to_gray|resize(32)",
        "pad(4)",
        "resize(32, 'area')",
        "resize_crop((16, 32))",
        "resize(9)|resize(8)",
    ),
    "timm": (
        "to_gray|resize(32)",
        "pad(4)",
        "center_crop(32)",
        "resize_short(40)|center_crop((16, 32))",
        "resize_short(3)",
    ),
}


def written(text, library):
    pipeline = transforms.parse(text, transforms.Statistics(*transforms.STATISTICS["imagenet"]))
    if library == "timm":
        return processor_files.timm(pipeline, 0.9)
    return processor_files.transformers(pipeline)


@pytest.mark.parametrize(("text", "library"), EXACT)
def test_the_file_says_the_transform_and_is_read_as_the_same(text, library):
    content, notes = written(text, library)
    assert EXACT[text, library].items() <= content.items()
    assert not notes
    size = transforms.parse(text).size
    files = {"config.json": {"pretrained_cfg": content | {"input_size": [3, *size]}}}
    again = pipeline_of({"preprocessor_config.json": content} if library == "transformers" else files)
    rng = np.random.default_rng(0)
    for shape in ((60, 90, 3), (91, 50, 3), (48, 48, 3), (33, 200, 3)):
        picture = rng.integers(0, 256, shape, np.uint8)
        np.testing.assert_array_equal(again.host(picture), transforms.parse(text).host(picture))


@pytest.mark.parametrize(("text", "library"), NEARLY)
def test_where_a_library_makes_other_pixels_a_line_says_so(text, library):
    _, notes = written(text, library)
    assert len(notes) == 1
    assert NEARLY[text, library] in notes[0]


def test_what_a_library_has_no_word_for_is_not_written():
    for text in STRANGE["transformers"]:
        assert written(text, "transformers") == (None, []), text
    for text in STRANGE["timm"]:
        with pytest.raises(InputError, match="timm has no transform that does"):
            written(text, "timm")


def test_every_crop_pct_gives_the_size_that_was_resized_to():
    for size in (7, 42, 224, 384):
        for resized in range(size, size + 60):
            text = f"resize_short({resized}, 'bicubic', 'pillow')|center_crop({size})"
            content, _ = written(text, "timm")
            assert resized == int(np.floor(size / content["crop_pct"]))


DEIT, BORDER = "resize(48)|center_crop(42)", "resize_fit(42)|center_crop(42, 128)"
TRANSFORMS = {
    "hf": ("", SHORT.format(", rounding='down'"), "resize(42)", "resize_crop(42)", DEIT),
    "timm": ("", SHORT.format(""), "resize(42, 'bicubic')", "resize_crop(42)", BORDER),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A ViT of each library with weights that make it sensitive to its input, and a folder of 100 images."""
    import timm
    import torch
    import transformers
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("sources")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.ViTConfig(**shape, image_size=42, patch_size=7, num_labels=10)
    made = {"hf": transformers.ViTForImageClassification(config)}
    sizes = {"img_size": 42, "patch_size": 7, "embed_dim": 32, "depth": 2, "num_heads": 2}
    made["timm"] = timm.create_model("vit_tiny_patch16_224", num_classes=10, **sizes)
    for model in made.values():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "norm" not in name:
                torch.nn.init.normal_(parameter, std=0.3)
    made["hf"].save_pretrained(place / "hf")
    crop = {"size": {"shortest_edge": 45}, "crop_size": 42, "resample": 3, "image_processor_type": "BitImageProcessor"}
    (place / "hf" / "preprocessor_config.json").write_text(json.dumps(crop))
    (place / "timm").mkdir()
    save_file(made["timm"].state_dict(), place / "timm" / "model.safetensors")
    cfg = {"input_size": [3, 42, 42], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}
    content = {"architecture": "vit_tiny_patch16_224", "model_args": sizes, "num_classes": 10, "pretrained_cfg": cfg}
    (place / "timm" / "config.json").write_text(json.dumps(content))
    rng, files = np.random.default_rng(0), []
    for i in range(100):
        height, width = rng.integers(20, 220, 2)
        blocks = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize((int(width), int(height)), i % 2 * 3)
        files.append(str(place / f"{i}.{'jpg' if i % 5 == 0 else 'png'}"))
        (blocks.convert("L") if i % 7 == 0 else blocks).save(files[-1])
    return place, files


def run_of(source, transform, folder):
    config = configs.default()
    config.init, config.model.name = str(source), ""
    config.data.train, config.data.test, config.data.eval_transform = "train[:8]", "test[:8]", transform
    config.batch_size = 8
    config.phases = [configs.phase("head", trainable="head/.*", steps=1)]
    train.run(config, folder)
    return folder


@pytest.mark.live
@pytest.mark.parametrize(
    ("library", "transform"), [(name, text) for name, texts in TRANSFORMS.items() for text in texts]
)
def test_the_librarys_own_pipeline_predicts_the_same(library, transform, sources, tmp_path, capsys):
    import timm
    import torch
    import transformers

    place, files = sources
    ours, names = predict.predict(run_of(place / library, transform, tmp_path / "run"), files)
    capsys.readouterr()
    export.export(tmp_path / "run", tmp_path / "new", library)
    assert capsys.readouterr().out == ""
    if library == "hf":
        kinds = [transformers.AutoImageProcessor.from_pretrained(tmp_path / "new", backend=b) for b in (None, "pil")]
        pipelines = (
            transformers.pipeline("image-classification", model=str(tmp_path / "new"), image_processor=kind)
            for kind in kinds
        )
        found = [[{row["label"]: row["score"] for row in rows} for rows in p(files, top_k=10)] for p in pipelines]
        fast, theirs = (np.array([[row[name] for name in names] for row in rows]) for rows in found)
        # torchvision resizes uint8 with coarser weights than Pillow, by up to two steps of 255
        np.testing.assert_allclose(ours, fast, rtol=0, atol=0.02)
    else:
        model = timm.create_model(f"local-dir:{tmp_path / 'new'}", pretrained=True).eval()
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        with torch.no_grad():
            images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
            theirs = model(images).softmax(-1).numpy()
    assert np.ptp(ours, axis=0).max() > 0.1
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
