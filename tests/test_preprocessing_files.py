"""What processor files of transformers, timm and OpenCLIP say of images gives the pixels that these libraries make."""

import json

import make_pixel_references as made
import numpy as np
import pytest

from jtransfer import models
from jtransfer.modalities.image.modality import Image
from jtransfer.models.chain import Pixels
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
