"""The names of ResNet and its kin in torchvision and timm, and of ResNet in Hugging Face's transformers."""

from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.models.resnet import ResNet
from jtransfer.weights.mapping import Map, Scheme, batch_norm, conv, dense, pointwise
from jtransfer.weights.maps.base_model import without_prefix
from jtransfer.weights.maps.bert import activation_of
from jtransfer.weights.maps.timm_arguments import arguments
from jtransfer.weights.schema import FLAG, LAYERS, SIZE, TEXT, many, one_of

MODEL = ResNet
_OF_TIMM = ("stem_type", "replace_stem_pool", "cardinality", "base_width", "avg_down", "se_ratio")
_OF_TRANSFORMERS = ("downsample_in_first_stage", "downsample_in_bottleneck", "embedding_size", "widths")


def schemes(model: ResNet) -> tuple[Scheme, ...]:
    """The naming schemes of a model: torchvision's, which timm has, too, or timm's alone; and transformers'."""
    alone = [field for field in (*_OF_TIMM, *_OF_TRANSFORMERS, "activation") if field not in _TORCHVISION]
    torchvision = Scheme("timm" if _changed(model, *alone) else "torchvision", tuple(_timm(model)))
    return (torchvision,) if _changed(model, *_OF_TIMM) else (torchvision, _TRANSFORMERS, _BASE)


_TORCHVISION = ("cardinality", "base_width")  # what torchvision's ResNet can be made with


def _changed(model: ResNet, *fields: str) -> list[str]:
    """Those of the fields in which a model is not as He et al. made it."""
    return [field for field in fields if getattr(model, field) != getattr(ResNet, field)]


def _timm(model: ResNet) -> Iterator[Map]:
    yield from _layer("conv1.6" if model.stem_type else "conv1", "bn1", "stem/conv", "stem/bn")
    for k in (1, 2) if model.stem_type else ():
        yield from _layer(f"conv1.{3 * k - 3}", f"conv1.{3 * k - 2}", f"stem/conv{k}", f"stem/bn{k}")
    if model.replace_stem_pool:
        yield from _layer("maxpool.0", "maxpool.1", "stem/conv_pool", "stem/bn_pool")
    theirs, ours, first = "layer{i}.{j}", "stage{i}/block{j}", int(model.avg_down)
    yield from _layer(f"{theirs}.conv{{k}}", f"{theirs}.bn{{k}}", f"{ours}/conv{{k}}", f"{ours}/bn{{k}}")
    shortcut = (f"{theirs}.downsample.{first}", f"{theirs}.downsample.{first + 1}")
    yield from _layer(*shortcut, f"{ours}/shortcut/conv", f"{ours}/shortcut/bn")
    for name, part in (("fc1", "reduce"), ("fc2", "expand")) if model.se_ratio else ():
        yield Map(f"{theirs}.se.{name}.weight", f"{ours}/squeeze/{part}/kernel", pointwise)
        yield Map(f"{theirs}.se.{name}.bias", f"{ours}/squeeze/{part}/bias")
    yield from dense("fc", "head/dense")


def _layer(their_conv: str, their_norm: str, our_conv: str, our_norm: str) -> Iterator[Map]:
    """The rows of a convolution and its batch norm."""
    yield from conv(their_conv, our_conv)
    yield from batch_norm(their_norm, our_norm)


_LAYER = "resnet.encoder.stages.{i}.layers.{j}"
_BLOCK = "stage{i+1}/block{j}"
_EMBEDDER = "resnet.embedder.embedder"

_TRANSFORMERS = Scheme(
    "transformers",
    (
        *_layer(f"{_EMBEDDER}.convolution", f"{_EMBEDDER}.normalization", "stem/conv", "stem/bn"),
        *conv(f"{_LAYER}.layer.{{k}}.convolution", f"{_BLOCK}/conv{{k+1}}"),
        *batch_norm(f"{_LAYER}.layer.{{k}}.normalization", f"{_BLOCK}/bn{{k+1}}"),
        *conv(f"{_LAYER}.shortcut.convolution", f"{_BLOCK}/shortcut/conv"),
        *batch_norm(f"{_LAYER}.shortcut.normalization", f"{_BLOCK}/shortcut/bn"),
        *dense("classifier.1", "head/dense"),
    ),
)
_BASE = without_prefix(_TRANSFORMERS, "resnet.")


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    kind, sizes = config.get("layer_type", "bottleneck"), config.get("hidden_sizes", _HIDDEN_SIZES)
    activation, expansion = activation_of(config.get("hidden_act", "relu")), 4 if kind == "bottleneck" else 1
    if any(size % expansion for size in sizes):
        raise InputError(f"config.json: hidden_sizes={list(sizes)}; bottlenecks here have multiples of 4 only")
    return {
        "depths": config.get("depths", (3, 4, 6, 3)),
        "bottleneck": kind == "bottleneck",
        "widths": [size // expansion for size in sizes],
        "embedding_size": config.get("embedding_size", 64),
        "activation": activation,
        "inner_activation": None if activation == "relu" else "relu",
        "downsample_in_first_stage": config.get("downsample_in_first_stage", False),
        "downsample_in_bottleneck": config.get("downsample_in_bottleneck", False),
        **{field: getattr(ResNet, field) for field in _OF_TIMM},
    }


FIELDS = {
    "layer_type": one_of("basic", "bottleneck"),
    "hidden_sizes": many(SIZE, 1, 100),
    "depths": many(LAYERS, 1, 100),
    "hidden_act": TEXT,
    "embedding_size": SIZE,
    "downsample_in_first_stage": FLAG,
    "downsample_in_bottleneck": FLAG,
}
_HIDDEN_SIZES = (256, 512, 1024, 2048)
STATED = {"resnet": (_stated, {})}


def transformers(model: ResNet) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    changed = _changed(model, *_OF_TIMM)
    if changed:
        field, usual = changed[0], getattr(ResNet, changed[0])
        raise InputError(f"transformers' resnet has {field}={usual!r} only; this model has {getattr(model, field)!r}")
    if (model.inner_activation or model.activation) != "relu":
        raise InputError("transformers' resnet has inner_activation='relu' only")
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "embedding_size": model.embedding_size,
        "hidden_sizes": [(4 if model.bottleneck else 1) * width for width in model.widths[: len(model.depths)]],
        "depths": list(model.depths),
        "layer_type": "bottleneck" if model.bottleneck else "basic",
        "hidden_act": model.activation,
        "downsample_in_first_stage": model.downsample_in_first_stage,
        "downsample_in_bottleneck": model.downsample_in_bottleneck,
    }


def _attention(args: Mapping[str, Any]) -> dict[str, Any]:
    if args["block_args"] != {"attn_layer": "se"}:
        raise InputError(f"config.json: model_args has block_args={args['block_args']!r}, which no model here has")
    return {"se_ratio": 1 / 16}


TIMM = {
    "layers": "depths",
    "channels": "widths",
    "stem_type": "stem_type",
    "stem_width": lambda args: {"embedding_size": 2 * args["stem_width"]},
    "replace_stem_pool": "replace_stem_pool",
    "cardinality": "cardinality",
    "base_width": "base_width",
    "avg_down": "avg_down",
    "block_args": _attention,
    "act_layer": lambda args: {"activation": activation_of(args["act_layer"])},
}


def timm(name: str, model: ResNet) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    if model.inner_activation not in (None, model.activation):
        raise InputError(f"timm's {name} has one activation; this model has {model.inner_activation!r} inside blocks")
    if len(model.depths) != 4:
        raise InputError(f"timm's {name} has four stages; this model has depths={model.depths}")
    if not model.stem_type and model.embedding_size != 64:
        raise InputError(f"timm has {name} with embedding_size=64 only")
    args = arguments(name, model, TIMM, free=("activation", "inner_activation", "embedding_size"))
    usual: Any = models.create(name)
    if (model.stem_type, model.embedding_size) != (usual.stem_type, usual.embedding_size):
        args["stem_width"] = model.embedding_size // 2
    if model.activation != "relu":
        args["act_layer"] = model.activation.replace("gelu_new", "gelu_tanh")
    return name, args
