"""The kin of ResNet: every name is timm's and computes what timm computes, and what a library lacks is refused."""

import json

import jax
import live_libraries
import numpy as np
import pytest
from safetensors.numpy import save_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.models import resnet
from jtransfer.proof import verify
from jtransfer.weights import libraries, maps
from jtransfer.weights.identify import hf_config
from jtransfer.weights.identify.detect import detect

THIN = {"depths": (1, 2, 1, 1), "widths": (16, 32, 48, 64), "image_size": 75}
KINDS = (  # one or two with each option
    *("resnet18", "wide_resnet50_2", "resnext50_32x4d", "resnet50c", "resnet50d", "resnet26t", "resnet50s"),
    *("seresnet18", "seresnext26t_32x4d", "resnetrs50"),
)
live = pytest.mark.skipif(bool(live_libraries.MISSING), reason="the extra `live` is not installed")


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), model.example_input())


def zeros(model):
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes(model))


def test_parameter_counts_are_the_published_ones():
    counts = {
        "resnet26t": 16_011_872,
        "resnet50d": 25_576_264,
        "wide_resnet50_2": 68_883_240,
        "resnext50_32x4d": 25_028_904,
        "seresnet18": 11_779_624,
        "seresnet50": 28_088_024,
        "seresnext26t_32x4d": 16_806_976,
        "resnetrs50": 35_691_912,
    }
    assert {name: trees.count(shapes(models.create(name))["params"]) for name in counts} == counts


@pytest.mark.parametrize("name", ["wide_resnet50_2", "seresnet18", "resnet26t"])
def test_a_file_alone_says_which_of_them_it_is_of(name):
    model = models.create(name, 10)
    tensors = weights.to_tensors(zeros(model), model)
    found = detect(tensors)
    assert (found.model, found.misfits, found.fields) == (name, 0, {"num_classes": 10})


@pytest.mark.parametrize("name", resnet.MODELS)
def test_a_folder_of_timm_names_its_fields(name, tmp_path):
    model = models.create(name, 10, **THIN)
    config = libraries.timm(name, model, ())
    assert config["architecture"] == name
    assert config["model_args"] == {"layers": [1, 2, 1, 1], "channels": [16, 32, 48, 64]}
    assert hf_config.names({"config.json": config}) == [name]


@pytest.mark.parametrize(
    ("fields", "args"),
    [
        ({"cardinality": 8, "base_width": 16}, {"cardinality": 8, "base_width": 16}),
        ({"stem_type": "deep", "avg_down": True}, {"stem_type": "deep", "avg_down": True, "stem_width": 32}),
        ({"stem_type": "deep_tiered", "embedding_size": 48}, {"stem_type": "deep_tiered", "stem_width": 24}),
        ({"activation": "gelu", "replace_stem_pool": True}, {"act_layer": "gelu", "replace_stem_pool": True}),
    ],
)
def test_fields_are_timms_arguments_and_back(fields, args, tmp_path):
    model = models.create("resnet50", 10, **fields | THIN)
    config = libraries.timm("resnet50", model, ())
    assert config["model_args"] == args | {"layers": [1, 2, 1, 1], "channels": [16, 32, 48, 64]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights.to_tensors(zeros(model), model, scheme="timm"), tmp_path / "model.safetensors")
    found = weights.describe(tmp_path).model
    assert found == model.clone(pixels=found.pixels)


@pytest.mark.parametrize(
    ("fields", "library", "says"),
    [
        ({"depths": (1, 1)}, libraries.timm, "timm's resnet50 has four stages"),
        ({"embedding_size": 32}, libraries.timm, "timm has resnet50 with embedding_size=64 only"),
        ({"downsample_in_bottleneck": True}, libraries.timm, "timm has resnet50 with downsample_in_bottleneck=False"),
        ({"inner_activation": "gelu"}, libraries.timm, "has one activation"),
        ({"se_ratio": 0.5}, libraries.timm, "timm has resnet50 with se_ratio=0.0 only"),
        ({"cardinality": 32}, libraries.transformers, "transformers' resnet has cardinality=1 only; .* has 32"),
        ({"avg_down": True}, libraries.transformers, "has avg_down=False only"),
        ({"activation": "gelu"}, libraries.transformers, "has inner_activation='relu' only"),
    ],
)
def test_what_a_library_does_not_have_is_refused(fields, library, says):
    with pytest.raises(InputError, match=says):
        library("resnet50", models.create("resnet50", 10, **fields), ())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"stem_type": "deeper"}, "unknown stem_type 'deeper'; nearest: deep"),
        ({"activation": "rel"}, "unknown activation 'rel'; nearest: relu"),
        ({"depths": (1,) * 5}, "5 depths need as many widths"),
        ({"bottleneck": False, "cardinality": 2}, "set bottleneck=True"),
    ],
)
def test_fields_that_make_no_network_are_refused(fields, says):
    with pytest.raises(InputError, match=says):
        _ = models.create("resnet50", **fields).stages


def test_a_config_of_transformers_may_leave_out_what_is_usual():
    assert hf_config.fields({"config.json": {"model_type": "resnet"}})["widths"] == (64, 128, 256, 512)
    assert hf_config.names({"config.json": {"model_type": "resnet"}}) == ["resnet50"]
    with pytest.raises(InputError, match="multiples of 4 only"):
        hf_config.fields({"config.json": {"model_type": "resnet", "hidden_sizes": [10]}})
    with pytest.raises(InputError, match="activation 'mish'"):
        hf_config.fields({"config.json": {"model_type": "resnet", "hidden_act": "mish"}})


def test_the_names_of_torchvision_are_those_of_what_it_has():
    first = {name: maps.schemes(models.create(name))[0].name for name in ("resnext50_32x4d", "resnet50d", "seresnet18")}
    assert first == {"resnext50_32x4d": "torchvision", "resnet50d": "timm", "seresnet18": "timm"}


@live
@pytest.mark.live
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_timm_computes_the_same_and_loads_what_is_exported(name, tmp_path):
    import live_checkpoints as libraries

    widths = (16, 32, 48, 64)
    args = {"layers": [1, 2, 1, 1], "channels": list(widths)}
    theirs = libraries.timm.create_model(name, num_classes=10, **args)
    theirs.pretrained_cfg = theirs.default_cfg | {"input_size": (3, 75, 75)}
    libraries.timm.models.save_for_hf(theirs, tmp_path / "in", model_args=args, safe_serialization=True)
    libraries.fill(tmp_path / "in" / "model.safetensors")
    model, variables, report = weights.restore(tmp_path / "in")
    assert not report.reinitialised
    images = verify.example(model)
    export.export(tmp_path / "in", tmp_path / "out", "timm")
    logits = jax.jit(model.apply)(variables, images)
    for folder in ("in", "out"):
        found = libraries.timm.create_model(f"local-dir:{tmp_path / folder}", pretrained=True).eval()
        with libraries.torch.no_grad():
            expected = found(libraries.torch.from_numpy(np.array(images.transpose(0, 3, 1, 2)))).numpy()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))
