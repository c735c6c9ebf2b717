"""The names of MobileNetV2 in torchvision, timm and Hugging Face's transformers."""

from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.inverted import scaled
from jtransfer.models.mobilenet_v2 import MobileNetV2
from jtransfer.weights.mapping import Map, Scheme, dense
from jtransfer.weights.maps.base_model import without_prefix
from jtransfer.weights.maps.inverted import TIMM as TRUNK
from jtransfer.weights.maps.inverted import enumerated, fields, layer
from jtransfer.weights.maps.timm_arguments import arguments
from jtransfer.weights.schema import FLAG, RATE, SIDES, number

__all__ = ["FIELDS", "MODEL", "STATED", "TIMM", "TIMM_MODELS", "fields", "schemes", "timm", "transformers"]

MODEL = MobileNetV2


def schemes(model: MobileNetV2) -> tuple[Scheme, ...]:
    """The naming schemes of a model; torchvision's come first."""
    hugging = Scheme("transformers", tuple(_transformers(model)))
    base = without_prefix(hugging, "mobilenet_v2.")
    return Scheme("torchvision", tuple(_torchvision(model))), _TIMM, hugging, base


_TIMM = Scheme("timm", (*TRUNK, *layer("conv_head", "bn2", "conv_head"), *dense("classifier", "head/dense")))


def _torchvision(model: MobileNetV2) -> Iterator[Map]:
    """Blocks are counted through all stages; in each, the last convolution and its norm stand side by side."""
    yield from layer("features.0.0", "features.0.1", "stem")
    n = 0
    for n, (ours, names) in enumerate(enumerated(model), 1):
        theirs, last = f"features.{n}.conv", len(names) - 1
        for k, name in enumerate(names[:-1]):
            yield from layer(f"{theirs}.{k}.0", f"{theirs}.{k}.1", f"{ours}/{name}")
        yield from layer(f"{theirs}.{last}", f"{theirs}.{last + 1}", f"{ours}/project")
    yield from layer(f"features.{n + 1}.0", f"features.{n + 1}.1", "conv_head")
    yield from dense("classifier.1", "head/dense")


def _transformers(model: MobileNetV2) -> Iterator[Map]:
    """The first block belongs to the stem; the others are counted through all stages."""
    parts = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}
    yield from _layer("conv_stem.first_conv", "stem")
    for n, (ours, names) in enumerate(enumerated(model), -1):
        theirs = "conv_stem" if n < 0 else f"layer.{n}"
        for name in names:
            yield from _layer(f"{theirs}.{parts[name]}", f"{ours}/{name}")
    yield from _layer("conv_1x1", "conv_head")
    yield from dense("classifier", "head/dense")


def _layer(foreign: str, ours: str) -> list[Map]:
    return layer(f"mobilenet_v2.{foreign}.convolution", f"mobilenet_v2.{foreign}.normalization", ours)


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    width = config["depth_multiplier"]
    if scaled(32, width) == scaled(16, width):
        raise InputError(f"config.json: depth_multiplier={width}: the first block has a residual here, not there")
    fields = {"width": width, "image_size": config["image_size"]}
    return fields | {"symmetric": not config.get("tf_padding", True), "eps": config.get("layer_norm_eps", 1e-3)}


FIELDS = {
    "depth_multiplier": number(0.01, 100),
    "image_size": SIDES,
    "tf_padding": FLAG,
    "layer_norm_eps": RATE,
}
_REQUIRED = {
    "hidden_act": "relu6",
    "output_stride": 32,
    "finegrained_output": True,
    "first_layer_is_expansion": True,
    "expand_ratio": 6,
    "depth_divisible_by": 8,
    "min_depth": 8,
}
STATED = {"mobilenet_v2": (_stated, _REQUIRED)}


def transformers(model: MobileNetV2) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    if model.ends[0] == model.blocks[0][0].features:
        raise InputError(f"transformers' MobileNetV2 has no residual in its first block; width={model.width} has")
    return {
        "architectures": ["MobileNetV2ForImageClassification"],
        "model_type": "mobilenet_v2",
        "depth_multiplier": model.width,
        "image_size": model.image_size,
        "tf_padding": not model.symmetric,
        "layer_norm_eps": (1e-5 if model.symmetric else 1e-3) if model.eps is None else model.eps,
        "finegrained_output": True,
        "hidden_act": "relu6",
        "classifier_dropout_prob": model.dropout,
    }


TIMM = {"bn_eps": "eps"}
_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    f"mobilenetv2_{round(100 * width):03d}": ("mobilenet_v2", {"width": width, "symmetric": True, "eps": 1e-5})
    for width in _WIDTHS
}


def timm(name: str, model: MobileNetV2) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    if not model.symmetric or model.width not in _WIDTHS:
        raise InputError(f"timm's MobileNetV2 has symmetric padding and a width of {', '.join(map(str, _WIDTHS))} only")
    return f"mobilenetv2_{round(100 * model.width):03d}", arguments(name, model, TIMM, free=("symmetric", "width"))
