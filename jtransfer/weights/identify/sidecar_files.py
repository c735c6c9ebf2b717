"""The files beside a checkpoint's weights: configurations of transformers, timm, OpenCLIP and sentence-transformers,
and the files of a tokenizer."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights import schema
from jtransfer.weights.formats import json_header
from jtransfer.weights.formats.lazy import Malformed
from jtransfer.weights.identify import processors, sentence_transformers, timm_transform
from jtransfer.weights.identify.stated_pixels import Unreadable
from jtransfer.weights.maps.timm_arguments import PRETRAINED

FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
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
_MAX_BYTES = 10_000_000


def read(paths: Mapping[str, Path]) -> dict[str, Any]:
    """Returns the content of configuration files, by the name of the file.

    Args:
      paths: their local paths by name, of which there are those in `FILES`.

    Raises:
      InputError: one of them is not JSON, or config.json does not say in a known form what it is of.
    """
    kinds = {sentence_transformers.MODULES: list}
    files = {name: read_json(path, kinds.get(name, dict)) for name, path in paths.items()}
    config = files.get("config.json", {})
    schema.check(config, _CALLED, "config.json")
    if config.get("architecture"):
        schema.check(config.get("pretrained_cfg", config), PRETRAINED, "config.json: pretrained_cfg")
    return files


_CALLED = {
    "model_type": schema.optional(schema.TEXT),
    "architecture": schema.optional(schema.TEXT),
    "architectures": schema.optional(schema.many(schema.TEXT, 0, 100)),
    "pretrained_cfg": schema.OBJECT,
    "model_args": schema.optional(schema.OBJECT),
}
"""What says in config.json how the rest is to be read."""


def read_json(path: Path, kind: type = dict) -> Any:
    """Returns the content of a JSON file, of which no more than ten megabytes are read.

    Args:
      path: of the file.
      kind: what it must hold: `dict` or `list`.

    Raises:
      InputError: it is not JSON, or does not hold that.
    """
    try:
        return json_header.read(path, kind, _MAX_BYTES)
    except Malformed as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


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
      InputError: a file says what no transform here does, or is not in a form that is known.
    """
    config = files.get("config.json", {})
    model_type, timm = config.get("model_type"), config.get("pretrained_cfg", config)
    readers: dict[str, tuple[Any, Callable[[Any], dict[str, Any] | None]]] = {
        PROCESSOR[1]: (files.get(PROCESSOR[1], {}).get("image_processor"), lambda x: processors.read(x, model_type)),
        PROCESSOR[0]: (files.get(PROCESSOR[0]), lambda x: processors.read(x, model_type)),
        "config.json": (timm if "pretrained_cfg" in config or "mean" in config else None, timm_transform.read),
    }
    for name, (content, reader) in readers.items():
        try:
            if content is not None and (found := reader(content)):
                return found, name
        except (AttributeError, TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
            what = f": {error}" if isinstance(error, Unreadable) else ""
            raise InputError(
                f"{name} beside the weights: its preprocessing has an unknown form{what}; give the preprocessing as "
                "model.fields.pixels, or correct the file"
            ) from None
    return None
