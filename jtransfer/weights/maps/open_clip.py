"""Reads OpenCLIP's open_clip_config.json, and makes the arguments of its class `CLIP`."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.clip import CLIP, CLIPPair

FILE = "open_clip_config.json"
SIZES = ("input_resolution", "context_length", "vocab_size")  # numbers among the tensors of OpenAI's own files
_PAIR = {"embed_dim": 512, "quick_gelu": False, "vision_cfg": {}, "text_cfg": {}}
_TOWER = {"layers": 12, "mlp_ratio": 4.0}
_IMAGE = _TOWER | {"width": 768, "head_width": 64, "patch_size": 16, "image_size": 224, "patch_dropout": 0.0}
_TEXT = _TOWER | {"width": 512, "heads": 8, "vocab_size": 49408, "context_length": 77}
_PIXELS = {
    "mean": list(CLIPPair.pixels.mean),
    "std": list(CLIPPair.pixels.std),
    "interpolation": CLIPPair.pixels.interpolation,
    "mode": "RGB",
    "resize_mode": "shortest",
    "fill_color": 0,
}
_MODES = {"shortest": "center", "squash": "squash", "longest": "border"}  # timm's words for them


def read(content: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the content of open_clip_config.json to that of transformers' config.json.

    The preprocessing has the form that it has in timm's config.json.

    Raises:
      InputError: The file states something that no model here has, such as a tower that is no transformer.
    """
    pair = _filled("model_cfg", content.get("model_cfg"), _PAIR)
    image, text = _filled("vision_cfg", pair["vision_cfg"], _IMAGE), _filled("text_cfg", pair["text_cfg"], _TEXT)
    pixels = _filled("preprocess_cfg", content.get("preprocess_cfg", {}), _PIXELS | {"size": None})
    if image["width"] % image["head_width"]:
        raise _strange("vision_cfg", "head_width", image["head_width"])
    for key, known in {"resize_mode": _MODES, "interpolation": ("bicubic", "bilinear", "random")}.items():
        if pixels[key] not in known:
            raise _strange("preprocess_cfg", key, pixels[key])
    activation, size = "quick_gelu" if pair["quick_gelu"] else "gelu", image["image_size"]
    vision = {"image_size": size, "patch_size": image["patch_size"]}
    ids = {"vocab_size": text["vocab_size"], "eos_token_id": text["vocab_size"] - 1}
    words = ids | {"max_position_embeddings": text["context_length"]}
    return {
        "model_type": "clip",
        "projection_dim": pair["embed_dim"],
        "vision_config": _tower(image, image["width"] // image["head_width"], activation) | vision,
        "text_config": _tower(text, text["heads"], activation) | words,
        "pretrained_cfg": _prepared(pixels, size if isinstance(size, list) else [size, size]),
    }


def _prepared(pixels: Mapping[str, Any], size: list[int]) -> dict[str, Any]:
    """The preprocessing as timm says it; "random" is bicubic outside of training, and so is all that is not square."""
    oblong = size[0] != size[1] and pixels["resize_mode"] == "shortest"
    return {
        "input_size": [3, *size],
        "mean": pixels["mean"],
        "std": pixels["std"],
        "interpolation": "bicubic" if oblong or pixels["interpolation"] == "random" else pixels["interpolation"],
        "crop_pct": 1.0,
        "crop_mode": _MODES[pixels["resize_mode"]],
        "fill_color": pixels["fill_color"],
    }


def named(name: str, model: CLIP) -> tuple[str, dict[str, Any]]:
    """The name of OpenCLIP's class of a model, and its arguments.

    Raises:
      InputError: OpenCLIP has no such model.
    """
    if not isinstance(model, CLIPPair) or model.eps != 1e-5 or model.width % model.num_heads:
        raise InputError("OpenCLIP has pairs of towers with eps=1e-05 only; take the pair, or store activations.npz")
    image = {
        "width": model.width,
        "layers": model.depth,
        "head_width": model.width // model.num_heads,
        "mlp_ratio": model.mlp_dim / model.width,
        "patch_size": model.patch,
        "image_size": model.image_size,
    }
    text = {
        "width": model.text_width,
        "layers": model.text_depth,
        "heads": model.text_num_heads,
        "mlp_ratio": model.text_mlp_dim / model.text_width,
        "vocab_size": model.vocab_size,
        "context_length": model.max_length,
    }
    quick = model.activation == "quick_gelu"
    return "CLIP", {"embed_dim": model.projection, "vision_cfg": image, "text_cfg": text, "quick_gelu": quick}


def _tower(sizes: Mapping[str, Any], heads: int, activation: str) -> dict[str, Any]:
    return {
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": heads,
        "intermediate_size": int(sizes["width"] * sizes["mlp_ratio"]),
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
    }


def _filled(part: str, given: Any, usual: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the file with what OpenCLIP takes for what is left out."""
    if not isinstance(given, dict):
        raise InputError(f"{FILE} has no {part}")
    for key, value in given.items():
        if (key not in usual and value) or (key in usual and value is not None and not _like(usual[key], value, key)):
            raise _strange(part, key, value)
    return {**usual, **{key: value for key, value in given.items() if value is not None and key in usual}}


def _like(usual: Any, value: Any, key: str) -> bool:
    """Is the value one of this field? Sizes are positive; that of an image may be a pair."""
    if key == "image_size" and isinstance(value, list):
        return len(value) == 2 and all(_like(usual, side, "") for side in value)
    if isinstance(usual, bool):
        return isinstance(value, bool)
    if isinstance(usual, int | float):
        kinds = (int,) if isinstance(usual, int) else (int, float)
        return type(value) in kinds and (value > 0 or usual == 0)
    return True


def _strange(part: str, key: str, value: Any) -> InputError:
    return InputError(f"{FILE}: {part} has {key}={str(value)[:80]!r}, which no model here has")
