"""MobileNetV2's names in torchvision, timm and transformers."""

from collections.abc import Iterator

from jtransfer.models.mobilenet import MobileNetV2
from jtransfer.weights.mapping import Map, Scheme, dense
from jtransfer.weights.maps.inverted import TIMM, enumerated, fields, layer

__all__ = ["MODEL", "fields", "schemes"]

MODEL = MobileNetV2


def schemes(model: MobileNetV2) -> tuple[Scheme, ...]:
    """The naming schemes of `model`; torchvision's come first."""
    return Scheme("torchvision", tuple(_torchvision(model))), _TIMM, Scheme("transformers", tuple(_transformers(model)))


_TIMM = Scheme("timm", (*TIMM, *layer("conv_head", "bn2", "conv_head"), *dense("classifier", "head/dense")))


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
