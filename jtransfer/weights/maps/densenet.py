"""The names of DenseNet in torchvision and timm, and in the public files of torchvision, which are older."""

from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.densenet import DenseNet
from jtransfer.weights.mapping import Scheme, batch_norm, conv, dense
from jtransfer.weights.maps.timm_arguments import arguments

MODEL = DenseNet


def schemes(model: DenseNet) -> tuple[Scheme, ...]:
    """The naming schemes of a model."""
    return _scheme("torchvision", ""), _scheme("torchvision_files", ".")


def _scheme(name: str, dot: str) -> Scheme:
    """`dot` stands between the kind and the number of a block's layers."""
    theirs, ours = "features.denseblock{i}.denselayer{j+1}", "stage{i}/block{j}"
    return Scheme(
        name,
        (
            *conv("features.conv0", "stem/conv"),
            *batch_norm("features.norm0", "stem/bn"),
            *conv(f"{theirs}.conv{dot}{{k}}", f"{ours}/conv{{k}}"),
            *batch_norm(f"{theirs}.norm{dot}{{k}}", f"{ours}/bn{{k}}"),
            *conv("features.transition{i}.conv", "stage{i+1}/transition/conv"),
            *batch_norm("features.transition{i}.norm", "stage{i+1}/transition/bn"),
            *batch_norm("features.norm5", "pool/bn"),
            *dense("classifier", "head/dense"),
        ),
    )


TIMM = {
    "block_config": "depths",
    "growth_rate": lambda args: {"growth": args["growth_rate"], "features": 2 * args["growth_rate"]},
}


def timm(name: str, model: DenseNet) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    if model.features != 2 * model.growth:
        raise InputError(f"timm's DenseNet has features = 2 · growth, not {model.features} with growth={model.growth}")
    return name, arguments(name, model, {"block_config": "depths", "growth_rate": "growth"}, free=("features",))
