"""EfficientNet-Lite's names in timm and in the package efficientnet_lite_pytorch."""

from jtransfer.models.efficientnet import EfficientNetLite
from jtransfer.weights.mapping import Map, Scheme, batch_norm, conv, dense

MODEL = EfficientNetLite


def schemes(model: EfficientNetLite) -> tuple[Scheme, ...]:
    """The naming schemes of `model`; timm's come first."""
    return _TIMM, Scheme("efficientnet_lite_pytorch", tuple(_package(model)))


def _layer(conv_name: str, norm_name: str, ours: str) -> list[Map]:
    return [*conv(conv_name, f"{ours}/conv"), *batch_norm(norm_name, f"{ours}/bn")]


def _timm_block(foreign: str, ours: str, layers: dict[str, str]) -> list[Map]:
    return [
        row
        for k, (theirs, name) in enumerate(layers.items(), 1)
        for row in _layer(f"{foreign}.{theirs}", f"{foreign}.bn{k}", f"{ours}/{name}")
    ]


_TIMM = Scheme(
    "timm",
    (
        *_layer("conv_stem", "bn1", "stem"),
        *_timm_block("blocks.0.{j}", "stage1/block{j}", {"conv_dw": "depthwise", "conv_pw": "project"}),
        *_timm_block(
            "blocks.{i}.{j}",
            "stage{i+1}/block{j}",
            {"conv_pw": "expand", "conv_dw": "depthwise", "conv_pwl": "project"},
        ),
        *_layer("conv_head", "bn2", "conv_head"),
        *dense("classifier", "head/dense"),
    ),
)


def _package(model: EfficientNetLite):
    """The package counts blocks through all stages."""
    yield from _layer("_conv_stem", "_bn0", "stem")
    blocks = [f"stage{i}/block{j}" for i, depth in enumerate(model.depths, 1) for j in range(depth)]
    for n, ours in enumerate(blocks):
        for k, name in enumerate(("expand", "depthwise", "project")):
            yield from _layer(f"_blocks.{n}._{name}_conv", f"_blocks.{n}._bn{k}", f"{ours}/{name}")
    yield from _layer("_conv_head", "_bn1", "conv_head")
    yield from dense("_fc", "head/dense")
