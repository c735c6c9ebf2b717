"""What a checkpoint's config.json states of its model, as fields of ours."""

from collections.abc import Callable, Mapping
from typing import Any

from jtransfer.errors import InputError
from jtransfer.models.chain import Pixels
from jtransfer.models.inverted import scaled
from jtransfer.weights import beside

Config = Mapping[str, Any]


def fields(files: Mapping[str, Config]) -> dict[str, Any]:
    """The fields that the files beside a checkpoint state: structure, input, preprocessing.

    Args:
      files: as `beside.read` gives them.

    Raises:
      InputError: they state something that the model here does not have.
    """
    config = files.get("config.json", {})
    found = dict(_timm(config)) if "architecture" in config else dict(_transformers(config))
    given = beside.preprocessing(files)
    if given:
        content = given[0]
        found |= {"image_size": content.pop("size")} if "image_size" not in found else {}
        found["pixels"] = Pixels(**{key: content[key] for key in ("mean", "std", "crop", "interpolation")})
    return found


def class_names(files: Mapping[str, Config]) -> tuple[str, ...]:
    """The names of the classes in order, or none where the files don't say."""
    config = files.get("config.json", {})
    given = config.get("pretrained_cfg", config)
    names = given.get("label_names") if isinstance(given, dict) else None
    labels = config.get("id2label")
    if isinstance(labels, dict) and not all(str(name).startswith("LABEL_") for name in labels.values()):
        names = [labels.get(str(i)) for i in range(len(labels))]
    return tuple(map(str, names)) if isinstance(names, list) and None not in names else ()


_TIMM_ARGS = {
    "depths": "depths",
    "dims": "widths",
    "embed_dim": "width",
    "depth": "depth",
    "num_heads": "heads",
    "patch_size": "patch",
    "img_size": "image_size",
    "in_chans": "channels",
    "growth_rate": "growth",
    "layers": "depths",
    "block_config": "depths",
    "bn_eps": "epsilon",
}


def _timm(config: Config) -> dict[str, Any]:
    args = config.get("model_args") or {}
    strange = sorted(set(args) - {*_TIMM_ARGS, "mlp_ratio", "num_classes", "pretrained"})
    if strange:
        raise InputError(f"config.json: model_args has {strange[0]}={args[strange[0]]!r}, which no model here takes")
    size = config.get("pretrained_cfg", config).get("input_size")
    usual = {"image_size": int(size[-1]), "channels": int(size[0])} if size else {}
    if "growth_rate" in args:
        usual["features"] = 2 * args["growth_rate"]
    if "mlp_ratio" in args and "embed_dim" in args:
        usual["mlp_width"] = round(args["mlp_ratio"] * args["embed_dim"])
    return usual | {ours: _plain(args[theirs]) for theirs, ours in _TIMM_ARGS.items() if theirs in args}


def _transformers(config: Config) -> dict[str, Any]:
    kind = config.get("model_type")
    if kind not in _TYPES:
        return {}
    reader, required = _TYPES[kind]
    for key, value in required.items():
        if config.get(key, value) != value:
            raise InputError(f"config.json: {key}={config[key]!r}; the model here has {value!r} only")
    try:
        found = reader(config)
    except (KeyError, TypeError) as error:
        raise InputError(f"config.json of type {kind!r} lacks {error}") from None
    channels = config.get("num_channels", 3)
    return {key: _plain(value) for key, value in found.items()} | ({"channels": channels} if channels != 3 else {})


def _resnet(config: Config) -> dict[str, Any]:
    return {"depths": config["depths"], "bottleneck": config["layer_type"] == "bottleneck"}


def _convnext(config: Config) -> dict[str, Any]:
    return {"depths": config["depths"], "widths": config["hidden_sizes"], "image_size": config.get("image_size", 224)}


def _efficientnet(config: Config) -> dict[str, Any]:
    keys = {"width": "width_coefficient", "depth": "depth_coefficient", "image_size": "image_size"}
    return {ours: config[theirs] for ours, theirs in keys.items()} | {"symmetric": False}


def _mobilenet_v2(config: Config) -> dict[str, Any]:
    width = config["depth_multiplier"]
    if scaled(32, width) == scaled(16, width):
        raise InputError(f"config.json: depth_multiplier={width}: the first block has a residual here, not there")
    fields = {"width": width, "image_size": config["image_size"]}
    return fields | {"symmetric": not config.get("tf_padding", True), "epsilon": config.get("layer_norm_eps", 1e-3)}


def _vit(config: Config) -> dict[str, Any]:
    width = config["hidden_size"]
    return {
        "width": width,
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "mlp_width": config.get("intermediate_size") or round(config["mlp_ratio"] * width),
        "patch": config["patch_size"],
        "image_size": config["image_size"],
        "epsilon": config.get("layer_norm_eps", 1e-12),
    }


def _deit(config: Config) -> dict[str, Any]:
    return _vit(config) | {"distilled": "DeiTForImageClassificationWithTeacher" in (config.get("architectures") or ())}


def _dinov2(config: Config) -> dict[str, Any]:
    return _vit(config) | {"layer_scale": config["layerscale_value"], "pooling": "token+mean"}


_GELU = {"hidden_act": "gelu"}
_TYPES: dict[str, tuple[Callable[[Config], dict[str, Any]], dict[str, Any]]] = {
    "resnet": (_resnet, {"hidden_act": "relu", "downsample_in_bottleneck": False, "downsample_in_first_stage": False}),
    "convnext": (_convnext, {"hidden_act": "gelu", "patch_size": 4}),
    "efficientnet": (_efficientnet, {"hidden_act": "swish"}),
    "mobilenet_v2": (_mobilenet_v2, {"hidden_act": "relu6", "output_stride": 32, "finegrained_output": True}),
    "vit": (_vit, _GELU | {"qkv_bias": True}),
    "deit": (_deit, _GELU | {"qkv_bias": True}),
    "dinov2": (_dinov2, _GELU | {"qkv_bias": True, "use_swiglu_ffn": False}),
}


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list) else value
