"""What the preprocessor_config.json of transformers says: the resizing, cropping and normalising of one of its classes
of image processors, as a transform of ours."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jtransfer.core.image_size import height_width, shortest
from jtransfer.weights import schema
from jtransfer.weights.identify.stated_pixels import RESAMPLE, Unreadable, call, floats, stated

_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_SQUASHED = {"size": {"height": 224, "width": 224}}
_CROPPED = {
    "size": {"shortest_edge": 224},
    "default_to_square": False,
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
}
_ALL = {
    "do_resize": True,
    "size": None,
    "default_to_square": True,
    "resample": 2,
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": None,
    "image_std": None,
}
_CLASSES: dict[str, dict[str, Any]] = {
    "ViT": _HALF | _SQUASHED,
    "Siglip": _HALF | _SQUASHED | {"resample": 3, "default_to_square": False},
    "Pvt": _IMAGENET | _SQUASHED | {"resample": 3},
    "Blip": _CLIP | {"size": {"height": 384, "width": 384}, "resample": 3},
    "DeiT": _HALF | _CROPPED | {"size": {"height": 256, "width": 256}, "resample": 3, "default_to_square": True},
    "Bit": _CLIP | _CROPPED | {"resample": 3},
    "CLIP": _CLIP | _CROPPED | {"resample": 3, "use_square_size": False},
    "ChineseCLIP": _CLIP | _CROPPED | {"resample": 3},
    "MobileNetV1": _HALF | _CROPPED | {"size": {"shortest_edge": 256}},
    "MobileNetV2": _HALF | _CROPPED | {"size": {"shortest_edge": 256}},
    "ConvNext": _HALF
    | {"size": {"shortest_edge": 384}, "default_to_square": False, "resample": 3, "crop_pct": 224 / 256},
    "EfficientNet": _HALF
    | {"size": {"height": 346, "width": 346}, "crop_size": {"height": 289, "width": 289}, "resample": 3}
    | {"rescale_offset": False, "include_top": True},
}
"""transformers' class, without ImageProcessor → what it takes for what a file leaves out, where that is not `_ALL`."""

_OF_MODEL = {
    "vit": "ViT",
    "swin": "ViT",
    "deit": "DeiT",
    "dinov2": "Bit",
    "clip": "CLIP",
    "clip_vision_model": "CLIP",
    "convnext": "ConvNext",
    "resnet": "ConvNext",
    "efficientnet": "EfficientNet",
    "mobilenet_v2": "MobileNetV2",
}
"""model_type → the class that transformers takes where the file names none."""

_INERT = frozenset(
    (
        *("image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "_valid_processor_keys"),
        *("do_convert_rgb", "data_format", "input_data_format", "return_tensors", "device", "disable_grouping"),
        *("model_input_names", "image_seq_length", "num_channels", "do_reduce_labels", "reduce_labels"),
        *("antialias", "crop_pct", "rescale_offset", "include_top"),
        *("transformers_version", "_name_or_path", "pad_size"),
    )
)
"""Keys that change no pixel: of labels, of formats, or of other classes than the one that the file names."""

_LARGEST = 1 << 16  # pixels of a side
_WARPS = 384  # the shortest edge from which ConvNeXt's class squashes images


class Affine(NamedTuple):
    """Numbers 0 to 255, divided by 255, less a mean and divided by a standard deviation."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1 / 255,)

    def then(self, mean: tuple[float, ...], std: tuple[float, ...]) -> "Affine":
        """What it is when the result is normalised once more; of one number and several, all are several."""
        count = max(map(len, (*self, mean, std)))
        m0, s0, m1, s1 = (values * count if len(values) == 1 else values for values in (*self, mean, std))
        return Affine(
            tuple(m + s * other for m, s, other in zip(m0, s0, m1, strict=True)),
            tuple(s * other for s, other in zip(s0, s1, strict=True)),
        )


def read(content: Mapping[str, Any], model_type: str | None) -> dict[str, Any] | None:
    """Returns what a processor does to images, as a model's `preprocessing` says it.

    Args:
      content: of the file.
      model_type: as config.json has it, which tells the class of a processor that does not name it.

    Returns:
      The preprocessing; or None for a processor of something else than images.

    Raises:
      Unreadable: the processor does what no transform here does.
    """
    kind = _kind(content, model_type)
    if kind is None:
        return None
    usual = _ALL | _CLASSES[kind]
    for key, value in content.items():
        if key not in usual and key not in _INERT and not _nothing(value) and not _pads_nothing(key, content):
            raise Unreadable(f"{key}={value!r:.80}")
    given = usual | {key: value for key, value in content.items() if key in usual}
    for key, value in usual.items():
        if isinstance(value, bool) and not isinstance(given[key], bool | None):
            raise Unreadable(f"{key}={given[key]!r:.80}")
    calls, crop, size = _geometry(given)
    values = _values(given)
    method = _method(given["resample"]) if given["do_resize"] else "bilinear"
    return stated(values.mean, values.std, crop, method, calls, size) | {"rounding": "down"}


def _kind(content: Mapping[str, Any], model_type: str | None) -> str | None:
    named = content.get("image_processor_type") or content.get("feature_extractor_type")
    if named:
        kind = str(named)
        for suffix in ("Pil", "Fast", "ImageProcessor", "FeatureExtractor"):
            kind = kind.removesuffix(suffix)
        if kind in _CLASSES:
            return kind
        if "image_processor_type" not in content and "image_mean" not in content:
            return None
        raise Unreadable(f"it is of the class {schema.shown(named)}, and those known here are {', '.join(_CLASSES)}")
    if "crop_pct" in content:
        return "ConvNext"
    if "include_top" in content:
        return "EfficientNet"
    if model_type in _OF_MODEL:
        return _OF_MODEL[model_type]
    if "image_mean" not in content:
        return None
    return "Bit" if "crop_size" in content and content.get("do_center_crop") is not False else "ViT"


def _nothing(value: Any) -> bool:
    return value is None or value is False or value == [] or value == {}


def _pads_nothing(key: str, content: Mapping[str, Any]) -> bool:
    """Padding to the largest image of a batch, all of which are of one size, changes none."""
    return key == "do_pad" and content.get("pad_size") is None


def _geometry(given: Mapping[str, Any]) -> tuple[list[str], float, tuple[int, int] | None]:
    """The calls that resize and crop; the share of each side that is left; and the size of the result, if it has one
    whatever the image is."""
    calls, resized, size = [], None, None
    if given["do_resize"]:
        method = _method(given["resample"])
        edges = _edges(given["size"], square=given["default_to_square"] or given.get("use_square_size", False))
        if "crop_pct" in given:
            calls, resized, size = _convnext(edges, given["crop_pct"], method)
        elif "height" in edges:
            size = resized = edges["height"], edges["width"]
            calls = [call("resize", shortest(size), method, "pillow")]
        else:
            resized = height_width(edges["shortest_edge"])
            calls = [call("resize_short", edges["shortest_edge"], method, "pillow")]
    if given["do_center_crop"]:
        edges = _edges(given["crop_size"], square=True, key="crop_size")
        size = edges["height"], edges["width"]
        room = resized is not None and size[0] <= resized[0] and size[1] <= resized[1]
        calls.append(_cropped(size, () if room else (0,)))
    return calls, round(max(size) / max(resized), 4) if size and resized else 1.0, size


def _convnext(edges: Mapping[str, int], share: Any, method: str) -> tuple[list[str], Any, tuple[int, int]]:
    if "shortest_edge" not in edges:
        raise Unreadable(f"size={dict(edges)} of ConvNextImageProcessor, which takes a shortest_edge")
    side = edges["shortest_edge"]
    if side >= _WARPS:
        return [call("resize", side, method, "pillow")], (side, side), (side, side)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.05 <= share <= 20:
        raise Unreadable(f"crop_pct={share!r:.80}")
    resized = int(side / share)
    calls = [call("resize_short", resized, method, "pillow"), _cropped((side, side), () if side <= resized else (0,))]
    return calls, (side / share, side / share), (side, side)


def _cropped(size: tuple[int, int], value: tuple[int, ...]) -> str:
    return call("center_crop", shortest(size), *value, rounding="down")


def _edges(size: Any, *, square: bool, key: str = "size") -> dict[str, int]:
    """A size as {"height": …, "width": …} or {"shortest_edge": …}; a number is a square's side if `square` says it."""
    if isinstance(size, int):
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    elif isinstance(size, list) and len(size) == 2:
        size = dict(zip(("height", "width"), size, strict=True))
    edges = {name: side for name, side in size.items() if side is not None} if isinstance(size, dict) else {}
    known = [{"height", "width"}] + ([{"shortest_edge"}] if key == "size" else [])
    if set(edges) not in known or not all(type(side) is int and 0 < side <= _LARGEST for side in edges.values()):
        raise Unreadable(f"{key}={size!r:.80}")
    return edges


def _method(resample: Any) -> str:
    name = str(resample).lower().removeprefix("interpolationmode.").replace("_", "-")
    name = "nearest" if name == "nearest-exact" else RESAMPLE.get(name)
    if name is None or isinstance(resample, bool):
        raise Unreadable(f"resample={resample!r:.80}")
    return "nearest-exact" if name == "nearest" else name  # which transformers calls


def _values(given: Mapping[str, Any]) -> Affine:
    def numbers(key: str) -> tuple[float, ...]:
        if given[key] is None:
            raise Unreadable(f"{key}=None, which is needed")
        return floats(given[key])

    values = Affine()
    if given["do_rescale"]:
        values = values.then((0.0,), tuple(1 / factor for factor in numbers("rescale_factor")))
        values = values.then((1.0,), (1.0,)) if given.get("rescale_offset") else values
    if given["do_normalize"]:
        values = values.then(numbers("image_mean"), numbers("image_std"))
    return values.then((0.0,), numbers("image_std")) if given.get("include_top") else values
