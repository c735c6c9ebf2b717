"""DenseNet's names in torchvision (timm's are the same), and those of torchvision's public files, which are older."""

from jtransfer.models.densenet import DenseNet
from jtransfer.weights.mapping import Scheme, batch_norm, conv, dense

MODEL = DenseNet


def schemes(model: DenseNet) -> tuple[Scheme, ...]:
    """The naming schemes of `model`."""
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
