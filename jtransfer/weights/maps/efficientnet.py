"""The names of EfficientNet in torchvision, timm, transformers, efficientnet_pytorch and efficientnet_lite_pytorch."""

from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.efficientnet import STAGES, EfficientNet
from jtransfer.weights.mapping import Map, Scheme, dense
from jtransfer.weights.maps.base_model import without_prefix
from jtransfer.weights.maps.inverted import TIMM as TRUNK
from jtransfer.weights.maps.inverted import (
    enumerated,
    fields,
    in_timm,
    layer,
    squeeze,
    tensorflow_or_not,
    torchvision_block,
)
from jtransfer.weights.schema import RATE, SIDE, many, number, whole

__all__ = ["FIELDS", "MODEL", "STATED", "TIMM", "TIMM_MODELS", "fields", "schemes", "timm", "transformers"]

MODEL = EfficientNet


def schemes(model: EfficientNet) -> tuple[Scheme, ...]:
    """The naming schemes of a model; timm's come first."""
    package = "efficientnet_pytorch" if model.squeezes else "efficientnet_lite_pytorch"
    ours = (_TIMM, Scheme(package, tuple(_package(model))))
    if not model.squeezes:
        return ours
    hugging = Scheme("transformers", tuple(_transformers(model)))
    base = without_prefix(hugging, "efficientnet.")
    return *ours, Scheme("torchvision", tuple(_torchvision(model))), hugging, base


_TIMM = Scheme("timm", (*TRUNK, *layer("conv_head", "bn2", "conv_head"), *dense("classifier", "head/dense")))


def _package(model: EfficientNet) -> Iterator[Map]:
    """The packages count blocks through all stages."""
    yield from layer("_conv_stem", "_bn0", "stem")
    for n, (ours, names) in enumerate(enumerated(model)):
        for k, name in enumerate(("expand", "depthwise", "project")):
            if name in names:
                yield from layer(f"_blocks.{n}._{name}_conv", f"_blocks.{n}._bn{k}", f"{ours}/{name}")
        if "squeeze" in names:
            yield from squeeze(f"_blocks.{n}._se_reduce", f"_blocks.{n}._se_expand", ours)
    yield from layer("_conv_head", "_bn1", "conv_head")
    yield from dense("_fc", "head/dense")


def _torchvision(model: EfficientNet) -> Iterator[Map]:
    yield from layer("features.0.0", "features.0.1", "stem")
    for ours, names in enumerated(model):
        i, j = ours.removeprefix("stage").split("/block")
        yield from torchvision_block(f"features.{i}.{j}.block", ours, names)
    last = len(model.blocks) + 1
    yield from layer(f"features.{last}.0", f"features.{last}.1", "conv_head")
    yield from dense("classifier.1", "head/dense")


def _transformers(model: EfficientNet) -> Iterator[Map]:
    encoder = "efficientnet.encoder"
    yield from layer("efficientnet.embeddings.convolution", "efficientnet.embeddings.batchnorm", "stem")
    for n, (ours, _) in enumerate(enumerated(model)):
        theirs = f"{encoder}.blocks.{n}"
        yield from layer(f"{theirs}.expansion.expand_conv", f"{theirs}.expansion.expand_bn", f"{ours}/expand")
        depthwise = f"{theirs}.depthwise_conv.depthwise"
        yield from layer(f"{depthwise}_conv", f"{depthwise}_norm", f"{ours}/depthwise")
        yield from squeeze(f"{theirs}.squeeze_excite.reduce", f"{theirs}.squeeze_excite.expand", ours)
        yield from layer(f"{theirs}.projection.project_conv", f"{theirs}.projection.project_bn", f"{ours}/project")
    yield from layer(f"{encoder}.top_conv", f"{encoder}.top_bn", "conv_head")
    yield from dense("classifier", "head/dense")


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    eps = config.get("batch_norm_eps", 1e-3)
    factors = {name: float(config[f"{name}_coefficient"]) for name in ("width", "depth")}
    found: dict[str, Any] = {**factors, "image_size": config["image_size"], "symmetric": False}
    odd, stated = _odd_maps(EfficientNet(**found)), config.get("depthwise_padding", [])
    wanted = [block for block, is_odd in odd.items() if is_odd]
    if [block for block in odd if block in stated] != wanted:
        raise InputError(
            f"config.json: depthwise_padding={list(stated)}; for images of {found['image_size']} pixels the model, "
            f"which pads as TensorFlow here, has {wanted} only"
        )
    return found | ({} if eps == 1e-3 else {"eps": eps})


def _odd_maps(model: EfficientNet) -> dict[int, bool]:
    """The blocks with a stride, counted through all stages, and whether their maps have odd sides; the stem is -1.

    A config of transformers lists those with odd maps, which TensorFlow pads on both sides alike. In transformers the
    stem can't be one of them.
    """
    strides = [2, *(widths.strides for blocks in model.blocks for widths in blocks)]
    found, sides = {}, model.sides
    for block, stride in enumerate(strides, -1):
        if stride > 1:
            found[block] = any(side % 2 for side in sides)
            sides = tuple(-(-side // 2) for side in sides)
    return found


FIELDS = {
    "width_coefficient": number(0.01, 100),
    "depth_coefficient": number(0.01, 100),
    "image_size": SIDE,
    "batch_norm_eps": RATE,
    "depthwise_padding": many(whole(0, 10_000), 0, 10_000),
}
_REQUIRED = {
    "hidden_act": "swish",
    "pooling_type": "mean",
    "depth_divisor": 8,
    "kernel_sizes": [row[3] for row in STAGES],
    "in_channels": [32, *(row[1] for row in STAGES[:-1])],
    "out_channels": [row[1] for row in STAGES],
    "strides": [row[4] for row in STAGES],
    "num_block_repeats": [row[2] for row in STAGES],
    "expand_ratios": [row[0] for row in STAGES],
    "squeeze_expansion_ratio": 0.25,
}
STATED = {"efficientnet": (_stated, _REQUIRED)}


def transformers(model: EfficientNet) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    if not model.squeezes:
        raise InputError(f"transformers has no {type(model).__name__}; export to timm")
    if model.symmetric:
        raise InputError("transformers' EfficientNet pads as TensorFlow, and this model symmetrically; export to timm")
    return {
        "architectures": ["EfficientNetForImageClassification"],
        "model_type": "efficientnet",
        "width_coefficient": model.width,
        "depth_coefficient": model.depth,
        "hidden_dim": model.ends[1],
        "image_size": model.image_size,
        "batch_norm_eps": 1e-3 if model.eps is None else model.eps,
        "depthwise_padding": [block for block, is_odd in _odd_maps(model).items() if is_odd],
        "dropout_rate": model.dropout,
        **_REQUIRED,
    }


TIMM = {"bn_eps": "eps"}
_LARGER = {"b8": {"width": 2.2, "depth": 3.6, "image_size": 672}, "l2": {"width": 4.3, "depth": 5.3, "image_size": 800}}
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    architecture: what
    for size, (ours, fields) in {
        **{size: (size, {}) for size in (*(f"b{n}" for n in range(8)), *(f"lite{n}" for n in range(5)))},
        **{size: ("b7", fields) for size, fields in _LARGER.items()},
    }.items()
    for architecture, what in in_timm(f"efficientnet_{size}", f"efficientnet_{ours}", **fields).items()
}


def timm(name: str, model: EfficientNet) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    return tensorflow_or_not(name, name, model)
