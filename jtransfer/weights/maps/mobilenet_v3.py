"""The names of MobileNetV3 in torchvision and timm."""

from collections.abc import Iterator
from typing import Any

from jtransfer.models.mobilenet_v3 import MobileNetV3
from jtransfer.weights.mapping import Map, Scheme, dense
from jtransfer.weights.maps.inverted import TIMM as TRUNK
from jtransfer.weights.maps.inverted import (
    enumerated,
    fields,
    in_timm,
    layer,
    pointwise_dense,
    tensorflow_or_not,
    torchvision_block,
)

__all__ = ["MODEL", "TIMM", "TIMM_MODELS", "fields", "schemes", "timm"]

MODEL = MobileNetV3


def schemes(model: MobileNetV3) -> tuple[Scheme, ...]:
    """The naming schemes of a model; torchvision's come first."""
    return Scheme("torchvision", tuple(_torchvision(model))), Scheme("timm", tuple(_timm(model)))


def _torchvision(model: MobileNetV3) -> Iterator[Map]:
    yield from layer("features.0.0", "features.0.1", "stem")
    n = 0
    for n, (ours, names) in enumerate(enumerated(model), 1):
        yield from torchvision_block(f"features.{n}.block", ours, names)
    yield from layer(f"features.{n + 1}.0", f"features.{n + 1}.1", "conv_head")
    yield from dense("classifier.0", "fc/dense")
    yield from dense("classifier.3", "head/dense")


def _timm(model: MobileNetV3) -> Iterator[Map]:
    """The last convolution is one more stage; the wide dense layer is a 1×1 convolution."""
    last = f"blocks.{len(model.blocks)}.0"
    yield from layer(f"{last}.conv", f"{last}.bn1", "conv_head")
    yield from TRUNK
    yield from pointwise_dense("conv_head", "fc/dense")
    yield from dense("classifier", "head/dense")


TIMM = {"bn_eps": "eps"}
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **in_timm("mobilenetv3_small_100", "mobilenet_v3_small"),
    **in_timm("mobilenetv3_large_100", "mobilenet_v3_large"),
}


def timm(name: str, model: MobileNetV3) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    return tensorflow_or_not(name, f"{name.replace('_v3', 'v3')}_100", model)
