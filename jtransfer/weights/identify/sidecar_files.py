"""What lies beside a weights file: config.json (transformers, timm), preprocessor_config.json, a tokenizer's files, and
what OpenCLIP and sentence-transformers have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights.formats import json_header
from jtransfer.weights.formats.lazy import Malformed
from jtransfer.weights.identify import sentence_transformers

FILES = (
    "config.json",
    "preprocessor_config.json",
    "open_clip_config.json",
    sentence_transformers.MODULES,
    sentence_transformers.POOLING,
)
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm", "target.spm"),
)
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
GENERATION = "generation_config.json"
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers
_MAX_BYTES = 10_000_000


def read(weights: Path) -> dict[str, Any]:
    """File name → content, of `FILES` that lie in the folder of `weights`, or in `weights` if that is the folder.

    Raises:
      InputError: one of them is not JSON.
    """
    folder = weights if weights.is_dir() else weights.parent
    found = {}
    for name in FILES:
        path = folder / name
        if path.is_file():
            try:
                with path.open("rb") as file:
                    found[name] = json_header.parse(
                        file.read(_MAX_BYTES), list if name == sentence_transformers.MODULES else dict
                    )
            except Malformed as error:
                raise InputError(f"{path}: {error}") from None
    return found


def names(files: Mapping[str, Any]) -> tuple[str, ...]:
    """What the files call the model, the most exact name first: timm's architecture, transformers' class and type."""
    config = files.get("config.json", {})
    classes = config.get("architectures")
    given = [config.get("architecture"), *(classes if isinstance(classes, list) else []), config.get("model_type")]
    return tuple(name for name in given if isinstance(name, str) and name)


def preprocessing(files: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
    """How images are prepared, as a model's `preprocessing` says it, and the file that says so; None where none does.

    Raises:
      InputError: a file has these fields, but not in a form that is known.
    """
    config = files.get("config.json", {})
    timm = config.get("pretrained_cfg", config)
    readers = {
        "preprocessor_config.json": ("image_mean", files.get("preprocessor_config.json", {}), _from_transformers),
        "config.json": ("mean", timm, _from_timm),
    }
    for name, (field, content, reader) in readers.items():
        if isinstance(content, dict) and field in content:
            try:
                return reader(content), name
            except (TypeError, ValueError, KeyError, IndexError):
                raise InputError(f"{name} beside the weights: its preprocessing has an unknown form") from None
    return None


def _from_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "mean": _floats(config["mean"]),
        "std": _floats(config["std"]),
        "crop": float(config.get("crop_pct") or 1.0),
        "interpolation": str(config.get("interpolation", "bilinear")),
        "size": _size(config["input_size"][-2:]),
    }


def _from_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    resized = _sides(config["size"])
    crops = config.get("do_center_crop", "crop_size" in config) and config.get("crop_size")
    size = _sides(config["crop_size"]) if crops else resized
    resample = config.get("resample", 2)
    return {
        "mean": _floats(config["image_mean"]),
        "std": _floats(config["image_std"]),
        "crop": float(config["crop_pct"]) if config.get("crop_pct") else round(max(size) / max(resized), 4),
        "interpolation": _RESAMPLE[resample] if isinstance(resample, int) else str(resample),
        "size": _size(size),
    }


def _sides(size: Any) -> tuple[int, int]:
    """Height and width of a size that is a number, a pair, {"height": …, "width": …} or {"shortest_edge": …}."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or (size["height"], size["width"])
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)


def _size(sides: Any) -> int | tuple[int, int]:
    """One number where height and width are the same."""
    height, width = map(int, sides)
    return height if height == width else (height, width)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
