"""The files beside a checkpoint's weights: configurations of transformers, timm, OpenCLIP and sentence-transformers,
and the files of a tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.image_size import height_width, shortest
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


def read(paths: Mapping[str, Path]) -> dict[str, Any]:
    """Returns the content of configuration files, by the name of the file.

    Args:
      paths: their local paths by name, of which there are those in `FILES`.

    Raises:
      InputError: one of them is not JSON.
    """
    kinds = {sentence_transformers.MODULES: list}
    return {name: read_json(path, kinds.get(name, dict)) for name, path in paths.items()}


def read_json(path: Path, kind: type = dict) -> Any:
    """Returns the content of a JSON file, of which no more than ten megabytes are read.

    Args:
      path: of the file.
      kind: what it must hold: `dict` or `list`.

    Raises:
      InputError: it is not JSON, or does not hold that.
    """
    try:
        with path.open("rb") as file:
            return json_header.parse(file.read(_MAX_BYTES), kind)
    except Malformed as error:
        raise InputError(f"{path}: {error}") from None


def names(files: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what the files call the model, the most exact name first: timm's architecture, transformers' class and
    model type.

    Args:
      files: as `read` returns them.
    """
    config = files.get("config.json", {})
    classes = config.get("architectures")
    given = [config.get("architecture"), *(classes if isinstance(classes, list) else []), config.get("model_type")]
    return tuple(name for name in given if isinstance(name, str) and name)


def preprocessing(files: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
    """Returns how images are prepared, as a model's `preprocessing` says it, and the name of the file that says so.

    Args:
      files: as `read` returns them.

    Returns:
      (preprocessing, file name), or None where no file says it.

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
        "size": shortest(config["input_size"][-2:]),
    }


def _from_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    resized = _pair(config["size"])
    crops = config.get("do_center_crop", "crop_size" in config) and config.get("crop_size")
    size = _pair(config["crop_size"]) if crops else resized
    resample = config.get("resample", 2)
    return {
        "mean": _floats(config["image_mean"]),
        "std": _floats(config["image_std"]),
        "crop": float(config["crop_pct"]) if config.get("crop_pct") else round(max(size) / max(resized), 4),
        "interpolation": _RESAMPLE[resample] if isinstance(resample, int) else str(resample),
        "size": shortest(size),
    }


def _pair(size: Any) -> tuple[int, int]:
    """Height and width of a size that is a number, a pair, {"height": …, "width": …} or {"shortest_edge": …}."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or (size["height"], size["width"])
    return height_width(size)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
