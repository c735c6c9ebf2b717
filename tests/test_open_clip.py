"""OpenCLIP's own folders: the file beside the weights says what they are of."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_convert import assert_same

from jtransfer import models, weights
from jtransfer.core.errors import InputError
from jtransfer.weights.maps import open_clip

FIELDS = {"patch": 8, "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 32, "projection": 12, "image_size": (16, 24)}
FIELDS |= {"text_width": 8, "text_depth": 1, "text_num_heads": 4, "text_mlp_dim": 32, "vocab_size": 20, "max_length": 6}
MODEL = models.create("clip_base_patch16", activation="quick_gelu", end=19, **FIELDS)


@pytest.fixture(scope="module")
def variables():
    shapes = jax.eval_shape(lambda: MODEL.init(jax.random.key(0), MODEL.example_input()))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: random.standard_normal(x.shape, np.float32), shapes)


def write(folder, variables, **changes):
    given = open_clip.named("", MODEL)[1]
    pixels = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": "shortest"}
    content = {"model_cfg": given, "preprocess_cfg": pixels} | changes
    weights.save(variables, MODEL, folder / "open_clip_model.safetensors", scheme="openai")
    (folder / open_clip.FILE).write_text(json.dumps(content))
    return given


def test_the_model_is_the_one_that_was_written(variables, tmp_path):
    write(tmp_path, variables)
    model, found, report = weights.restore(tmp_path)
    pixels = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "crop": 1.0, "interpolation": "bicubic"}
    transform = "resize_cover((16, 24), 'bicubic', 'pillow')|center_crop((16, 24))"  # its class asks for no other
    assert model.preprocessing == pixels | {"transform": transform, "rounding": "even", "size": (16, 24)}
    assert model.clone(pixels=MODEL.pixels) == MODEL
    assert_same(found, variables)
    assert report.scheme == "openai"


def test_what_is_left_out_is_what_open_clip_takes(variables, tmp_path):
    given = write(tmp_path, variables)
    short = {key: value for key, value in given.items() if key != "quick_gelu"}
    for tower in ("vision_cfg", "text_cfg"):
        usual = {"mlp_ratio": 4.0, "heads": 8, "head_width": 64}
        short[tower] = {key: value for key, value in given[tower].items() if usual.get(key) != value}
    (tmp_path / open_clip.FILE).write_text(json.dumps({"model_cfg": short}))
    model = weights.describe(tmp_path).model
    assert model.clone(pixels=MODEL.pixels) == MODEL.clone(activation="gelu")
    assert model.pixels == dataclasses.replace(MODEL.pixels, transform=model.pixels.transform)


def test_the_sizes_among_openais_tensors_are_no_parameters(variables, tmp_path):
    write(tmp_path, variables)
    file = tmp_path / "open_clip_model.safetensors"
    save_file(load_file(file) | {name: np.array(7) for name in open_clip.SIZES}, file)
    _, found, report = weights.restore(tmp_path)
    assert_same(found, variables)
    assert {name for name, _ in report.ignored} == set(open_clip.SIZES)


def changed(part, **changes):
    given = open_clip.named("", MODEL)[1]
    return {"model_cfg": given | {part: given[part] | changes}}


BAD = {
    "no model": ({"model_cfg": None}, "has no model_cfg"),
    "no tower": ({"model_cfg": {"text_cfg": 3}}, "has no text_cfg"),
    "a ResNet": (
        changed("vision_cfg", layers=[3, 4, 6, 3]),
        r"vision_cfg has layers='\[3, 4, 6, 3\]', which no model here",
    ),
    "another library's tower": (changed("vision_cfg", timm_model_name="vit"), "timm_model_name='vit'"),
    "another tower of texts": (changed("text_cfg", hf_model_name="roberta-base"), "hf_model_name='roberta-base'"),
    "half a layer": (changed("text_cfg", layers=1.5), "layers='1.5'"),
    "a ratio of words": (changed("text_cfg", mlp_ratio="4"), "mlp_ratio='4'"),
    "a size of words": (changed("vision_cfg", image_size="big"), "image_size='big'"),
    "three sides": (changed("vision_cfg", image_size=[1, 2, 3]), r"image_size='\[1, 2, 3\]'"),
    "uneven heads": (changed("vision_cfg", head_width=5), "head_width='5'"),
    "no heads": (changed("text_cfg", heads=0), "heads='0'"),
    "another model": ({"model_cfg": {"custom_text": True, **open_clip.named("", MODEL)[1]}}, "custom_text='True'"),
    "images of no mode": (changed("text_cfg") | {"preprocess_cfg": {"resize_mode": "tile"}}, "resize_mode='tile'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_no_model_here_has_is_said(case, variables, tmp_path):
    changes, reason = BAD[case]
    write(tmp_path, variables, **changes)
    with pytest.raises(InputError, match=f"{open_clip.FILE}.* {reason}") as caught:
        weights.restore(tmp_path)
    assert "\n" not in str(caught.value)
