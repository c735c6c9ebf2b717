"""The names of VGG in torchvision and timm, which count all layers, activations and pools included."""

from collections.abc import Iterator
from typing import Any

from jtransfer.models.vgg import MAP, VGG
from jtransfer.weights.mapping import Map, Scheme, batch_norm, conv, dense, flat_conv, flat_linear, pointwise
from jtransfer.weights.maps.timm_arguments import arguments

MODEL = VGG
_IGNORE = r".*\.num_batches_tracked"


def schemes(model: VGG) -> tuple[Scheme, ...]:
    """The naming schemes of a model; torchvision's come first. A model without its top ignores theirs."""
    trunk = tuple(_trunk(model))
    if not model.include_top:
        return (Scheme("torchvision", trunk, (_IGNORE, r"(classifier|pre_logits|head)\..*")),)
    return Scheme("torchvision", trunk + _TORCHVISION_TOP), Scheme("timm", trunk + _TIMM_TOP)


def _trunk(model: VGG) -> Iterator[Map]:
    n = 0
    for i, depth in enumerate(model.depths, 1):
        for k in range(1, depth + 1):
            yield from conv(f"features.{n}", f"stage{i}/conv{k}")
            if model.batch_norm:
                yield from batch_norm(f"features.{n + 1}", f"stage{i}/bn{k}")
            n += 3 if model.batch_norm else 2
        n += 1


_TORCHVISION_TOP = (
    Map("classifier.0.weight", "fc/fc1/kernel", flat_linear(MAP, MAP)),
    Map("classifier.0.bias", "fc/fc1/bias"),
    *dense("classifier.3", "fc/fc2"),
    *dense("classifier.6", "head/dense"),
)
_TIMM_TOP = (
    Map("pre_logits.fc1.weight", "fc/fc1/kernel", flat_conv(MAP, MAP)),
    Map("pre_logits.fc1.bias", "fc/fc1/bias"),
    Map("pre_logits.fc2.weight", "fc/fc2/kernel", pointwise),
    Map("pre_logits.fc2.bias", "fc/fc2/bias"),
    *dense("head.fc", "head/dense"),
)


def timm(name: str, model: VGG) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    return name, arguments(name, model, {})
