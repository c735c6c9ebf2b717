"""The names of ResNet in torchvision and timm, and in Hugging Face's transformers."""

from collections.abc import Mapping
from typing import Any

from jtransfer.models.resnet import ResNet
from jtransfer.weights.mapping import Scheme, batch_norm, conv, dense
from jtransfer.weights.maps.timm_arguments import arguments

MODEL = ResNet

_TORCHVISION = Scheme(
    "torchvision",
    (
        *conv("conv1", "stem/conv"),
        *batch_norm("bn1", "stem/bn"),
        *conv("layer{i}.{j}.conv{k}", "stage{i}/block{j}/conv{k}"),
        *batch_norm("layer{i}.{j}.bn{k}", "stage{i}/block{j}/bn{k}"),
        *conv("layer{i}.{j}.downsample.0", "stage{i}/block{j}/shortcut/conv"),
        *batch_norm("layer{i}.{j}.downsample.1", "stage{i}/block{j}/shortcut/bn"),
        *dense("fc", "head/dense"),
    ),
)

_LAYER = "resnet.encoder.stages.{i}.layers.{j}"
_BLOCK = "stage{i+1}/block{j}"

_TRANSFORMERS = Scheme(
    "transformers",
    (
        *conv("resnet.embedder.embedder.convolution", "stem/conv"),
        *batch_norm("resnet.embedder.embedder.normalization", "stem/bn"),
        *conv(f"{_LAYER}.layer.{{k}}.convolution", f"{_BLOCK}/conv{{k+1}}"),
        *batch_norm(f"{_LAYER}.layer.{{k}}.normalization", f"{_BLOCK}/bn{{k+1}}"),
        *conv(f"{_LAYER}.shortcut.convolution", f"{_BLOCK}/shortcut/conv"),
        *batch_norm(f"{_LAYER}.shortcut.normalization", f"{_BLOCK}/shortcut/bn"),
        *dense("classifier.1", "head/dense"),
    ),
)


def schemes(model: ResNet) -> tuple[Scheme, ...]:
    """The naming schemes of a model."""
    return _TORCHVISION, _TRANSFORMERS


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"depths": config["depths"], "bottleneck": config["layer_type"] == "bottleneck"}


_REQUIRED = {"hidden_act": "relu", "downsample_in_bottleneck": False, "downsample_in_first_stage": False}
STATED = {"resnet": (_stated, _REQUIRED)}


def transformers(model: ResNet) -> dict[str, Any]:
    """The content of transformers' config.json for a model."""
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "embedding_size": 64,
        "hidden_sizes": [64 * 2**i * (4 if model.bottleneck else 1) for i in range(len(model.depths))],
        "depths": list(model.depths),
        "layer_type": "bottleneck" if model.bottleneck else "basic",
        **_REQUIRED,
    }


TIMM = {"layers": "depths"}


def timm(name: str, model: ResNet) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    return name, arguments(name, model, TIMM)
