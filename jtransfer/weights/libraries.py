"""What other libraries need beside tensors: their names for our models, config.json and preprocessor_config.json."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import models
from jtransfer.errors import InputError, unknown
from jtransfer.models.convnext import ConvNeXt
from jtransfer.models.densenet import DenseNet
from jtransfer.models.efficientnet import EfficientNet, EfficientNetLite
from jtransfer.models.mobilenet import MobileNetV2, MobileNetV3
from jtransfer.models.resnet import ResNet
from jtransfer.models.vgg import VGG
from jtransfer.models.vit import ViT
from jtransfer.weights import maps
from jtransfer.weights.save import to_foreign

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def scheme(model: Any, library: str) -> str:
    """The name of the scheme that `library` ("transformers", "timm", "torchvision") reads for `model`.

    Raises:
      InputError: there is no such model in the library, or no map to it.
    """
    known = [found.name for found in maps.schemes(model)]
    wanted = [name for name in known if name.split()[0] == library]
    if library == "transformers" and isinstance(model, ViT):
        wanted = [f"transformers {_vit_kind(model)}"]
    if library == "timm" and not wanted and isinstance(model, ResNet | DenseNet):
        wanted = ["torchvision"]
    if not wanted:
        raise InputError(f"{library} has no {type(model).__name__}; there are names for {', '.join(known)}")
    return wanted[0]


def tensors(variables: Mapping[str, Any], model: Any, library: str) -> dict[str, np.ndarray]:
    """All that the library's model holds, by its names, so that it loads strictly. Errors as for `scheme`."""
    chosen = scheme(model, library)
    found = to_foreign(variables, model, scheme=chosen)
    if chosen == "transformers deit":
        found = {re.sub("^classifier", "cls_classifier", name): array for name, array in found.items()}
    if chosen == "transformers dinov2":
        found["dinov2.embeddings.mask_token"] = np.zeros((1, model.width), np.float32)
    return found | buffers(found)


def buffers(names: Iterable[str]) -> dict[str, np.ndarray]:
    """The counters that torch's batch norms keep beside their statistics; loading strictly asks for them."""
    norms = (name.removesuffix("running_var") for name in names if name.endswith(".running_var"))
    return {f"{norm}num_batches_tracked": np.zeros((), np.int64) for norm in norms}


def timm(name: str, model: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """The config.json with which `timm.create_model("local-dir:FOLDER", pretrained=True)` builds the model.

    Raises:
      InputError: timm has no such model, or not with these fields.
    """
    architecture, args = _timm_model(name, model)
    pixels = model.preprocessing
    pretrained = {
        "input_size": [model.channels, model.image_size, model.image_size],
        "mean": list(pixels["mean"]),
        "std": list(pixels["std"]),
        "crop_pct": pixels["crop"],
        "interpolation": pixels["interpolation"],
        "num_classes": model.num_classes,
    }
    if class_names:
        pretrained["label_names"] = list(class_names)
    if model.channels != 3:
        args["in_chans"] = model.channels
    config = {"architecture": architecture, "num_classes": model.num_classes, "pretrained_cfg": pretrained}
    return config | ({"model_args": args} if args else {})


def transformers(name: str, model: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """The config.json with which `AutoModelForImageClassification.from_pretrained(FOLDER)` builds the model.

    Raises:
      InputError: transformers has no such model, or not with these fields.
    """
    for cls, (architecture, build) in _TRANSFORMERS.items():
        if type(model) is cls:
            names = list(class_names) or [f"LABEL_{i}" for i in range(model.num_classes)]
            return {
                "architectures": [architecture],
                "num_channels": model.channels,
                "id2label": {str(i): label for i, label in enumerate(names)},
                "label2id": {label: i for i, label in enumerate(names)},
                "dtype": "float32",
                **build(model),
            }
    raise InputError(f"transformers has no {type(model).__name__}")


def processor(model: Any) -> dict[str, Any]:
    """The preprocessor_config.json of transformers: resize the shorter side, crop, normalize."""
    pixels = model.preprocessing
    if pixels["interpolation"] not in _RESAMPLE:
        raise unknown("interpolation", pixels["interpolation"], _RESAMPLE)
    return {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": round(model.image_size / pixels["crop"])},
        "resample": _RESAMPLE[pixels["interpolation"]],
        "do_center_crop": True,
        "crop_size": {"height": model.image_size, "width": model.image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(pixels["mean"]),
        "image_std": list(pixels["std"]),
    }


def _timm_model(name: str, model: Any) -> tuple[str, dict[str, Any]]:
    """timm's name of a model, and the arguments in which it differs from that."""
    for cls, (architecture, arguments) in _TIMM.items():
        if type(model) is cls:
            _check_rest(name, model, arguments, "timm")
            given = {theirs: getattr(model, ours) for ours, theirs in arguments.items() if _differs(name, model, ours)}
            args = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
            found, more = architecture(name, model)
            return found, args | more
    raise InputError(f"timm has no {type(model).__name__} with names that are known here")


def _same_name(name: str, model: Any) -> tuple[str, dict[str, Any]]:
    return name, {}


def _tensorflow_or_not(theirs: str, model: Any) -> tuple[str, dict[str, Any]]:
    """timm's `tf_` models pad as TensorFlow; epsilon is 1e-3 in these and 1e-5 in all others, whatever B5 has here."""
    epsilon = model.epsilon or (1e-5 if model.symmetric else 1e-3)
    usual = 1e-5 if model.symmetric else 1e-3
    return ("" if model.symmetric else "tf_") + theirs, {} if epsilon == usual else {"bn_eps": epsilon}


def _densenet_of_timm(name: str, model: DenseNet) -> tuple[str, dict[str, Any]]:
    if model.features != 2 * model.growth:
        raise InputError(f"timm's DenseNet has features = 2 · growth, not {model.features} with growth={model.growth}")
    return name, {}


def _mobilenet_v2_of_timm(name: str, model: MobileNetV2) -> tuple[str, dict[str, Any]]:
    known = (0.35, 0.5, 0.75, 1.0, 1.4)
    if not model.symmetric or model.width not in known:
        raise InputError(f"timm's MobileNetV2 has symmetric padding and a width of {', '.join(map(str, known))} only")
    return f"mobilenetv2_{round(100 * model.width):03d}", {"bn_eps": model.epsilon} if model.epsilon else {}


def _vit_of_timm(name: str, model: ViT) -> tuple[str, dict[str, Any]]:
    if model.pooling != "token":
        raise InputError(f"timm's {name} takes the class token; this model has pooling={model.pooling!r}")
    dino = name.startswith("dinov2_")
    theirs = f"vit_{name.removeprefix('dinov2_')}_patch14_dinov2" if dino else f"{name}_224"
    args: dict[str, Any] = {} if model.image_size == (518 if dino else 224) else {"img_size": model.image_size}
    if model.mlp_width != 4 * model.width:
        args["mlp_ratio"] = model.mlp_width / model.width
    return theirs, args


_TIMM: dict[type, tuple[Callable[..., tuple[str, dict]], dict[str, str]]] = {
    ResNet: (_same_name, {"depths": "layers"}),
    VGG: (_same_name, {}),
    DenseNet: (_densenet_of_timm, {"depths": "block_config", "growth": "growth_rate"}),
    ConvNeXt: (_same_name, {"depths": "depths", "widths": "dims"}),
    EfficientNet: (_tensorflow_or_not, {}),
    EfficientNetLite: (_tensorflow_or_not, {}),
    MobileNetV2: (_mobilenet_v2_of_timm, {}),
    ViT: (_vit_of_timm, {"patch": "patch_size", "width": "embed_dim", "depth": "depth", "heads": "num_heads"}),
    MobileNetV3: (lambda name, model: _tensorflow_or_not(f"{name.replace('_v3', 'v3')}_100", model), {}),
}


def _resnet(model: ResNet) -> dict[str, Any]:
    return {
        "model_type": "resnet",
        "embedding_size": 64,
        "hidden_sizes": [64 * 2**i * (4 if model.bottleneck else 1) for i in range(len(model.depths))],
        "depths": list(model.depths),
        "layer_type": "bottleneck" if model.bottleneck else "basic",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }


def _convnext(model: ConvNeXt) -> dict[str, Any]:
    return {
        "model_type": "convnext",
        "patch_size": 4,
        "num_stages": len(model.depths),
        "hidden_sizes": list(model.widths),
        "depths": list(model.depths),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "drop_path_rate": model.drop_path,
        "image_size": model.image_size,
    }


def _efficientnet(model: EfficientNet) -> dict[str, Any]:
    if model.symmetric:
        raise InputError("transformers' EfficientNet pads as TensorFlow, and this model symmetrically; export to timm")
    return {
        "model_type": "efficientnet",
        "width_coefficient": model.width,
        "depth_coefficient": model.depth,
        "hidden_dim": model.ends[1],
        "image_size": model.image_size,
        "batch_norm_eps": model.epsilon or 1e-3,
        "dropout_rate": model.dropout,
        "hidden_act": "swish",
    }


def _mobilenet_v2(model: MobileNetV2) -> dict[str, Any]:
    if model.ends[0] == model.blocks[0][0].features:
        raise InputError(f"transformers' MobileNetV2 has no residual in its first block; width={model.width} has")
    return {
        "model_type": "mobilenet_v2",
        "depth_multiplier": model.width,
        "image_size": model.image_size,
        "tf_padding": not model.symmetric,
        "layer_norm_eps": model.epsilon or (1e-5 if model.symmetric else 1e-3),
        "finegrained_output": True,
        "hidden_act": "relu6",
        "classifier_dropout_prob": model.dropout,
    }


def _vit_kind(model: ViT) -> str:
    return "deit" if model.distilled else "vit" if model.layer_scale is None else "dinov2"


def _vit(model: ViT) -> dict[str, Any]:
    kind = _vit_kind(model)
    pooling = "token+mean" if kind == "dinov2" else "token"
    if model.pooling != pooling:
        raise InputError(f"transformers' {kind} has pooling={pooling!r}; this model has {model.pooling!r}")
    names = {"vit": "ViTForImageClassification", "deit": "DeiTForImageClassificationWithTeacher"}
    if kind == "dinov2" and model.mlp_width % model.width:
        raise InputError(f"transformers' dinov2 has an mlp_width that is a multiple of the width {model.width}")
    mlp = {"mlp_ratio": model.mlp_width // model.width, "layerscale_value": model.layer_scale}
    return {
        "model_type": kind,
        "architectures": [names.get(kind, "Dinov2ForImageClassification")],
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.heads,
        **(mlp if kind == "dinov2" else {"intermediate_size": model.mlp_width}),
        "patch_size": model.patch,
        "image_size": model.image_size,
        "layer_norm_eps": model.epsilon,
        "hidden_act": "gelu",
        "qkv_bias": True,
    }


_TRANSFORMERS: dict[type, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    ResNet: ("ResNetForImageClassification", _resnet),
    ConvNeXt: ("ConvNextForImageClassification", _convnext),
    EfficientNet: ("EfficientNetForImageClassification", _efficientnet),
    MobileNetV2: ("MobileNetV2ForImageClassification", _mobilenet_v2),
    ViT: ("", _vit),
}
_FREE = ("num_classes", "image_size", "channels", "dtype", "pixels", "dropout", "drop_path", "parent", "name")


def _differs(name: str, model: Any, field: str) -> bool:
    return getattr(model, field) != getattr(models.create(name), field)


def _check_rest(name: str, model: Any, arguments: Mapping[str, str], library: str) -> None:
    """Raises InputError where the model differs from its name in a field that the library can't be told."""
    own = {MobileNetV2: ("width",), DenseNet: ("features",), ViT: ("mlp_width", "pooling", "layer_scale")}
    judged = own.get(type(model), ())
    free = {*_FREE, *arguments, "symmetric", "epsilon", *judged}
    for field in dataclasses.fields(model):
        if field.name not in free and _differs(name, model, field.name):
            usual = getattr(models.create(name), field.name)
            raise InputError(f"{library} has {name} with {field.name}={usual!r} only")
