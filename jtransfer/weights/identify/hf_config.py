"""What the config.json of transformers or timm states of a checkpoint's model: its name and its fields here."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.core.tree import as_tuples
from jtransfer.models.chain import Pixels
from jtransfer.weights import maps, schema
from jtransfer.weights.identify import model_fields, sentence_transformers, sidecar_files, timm_config
from jtransfer.weights.identify.detect import likeness

Config = Mapping[str, Any]


def names(files: Mapping[str, Config], aliases: Sequence[str] = (), stated: Config | None = None) -> list[str]:
    """Returns the names in `models.names()` that the model which config.json states may have, the likeliest first.

    For timm's architecture, it is the model that a family has for it. For transformers' model_type, it is one model of
    each class in its family that has the most of the fields that config.json states: the one that differs from it in
    the fewest, and among several of these, the one whose name is most like an alias. There is none where config.json
    says neither.

    Args:
      files: as `sidecar_files.read` returns them.
      aliases: what the checkpoint is called elsewhere, such as by its file.
      stated: what `fields` returns for these files, where it is known.

    Raises:
      InputError: it states a model that no family here claims, or something that no model of the family has.
    """
    config = files.get("config.json", {})
    if config.get("architecture"):
        return [timm_config.claim(config).name]
    family, stated = family_of(files), dict(fields(files) if stated is None else stated)
    if "pixels" in stated:
        stated["pixels"] = dataclasses.replace(stated["pixels"], transform=None)  # as models have it by themselves
    nearest: dict[type, tuple[tuple[int, int, float], str]] = {}
    if family is None:
        return []
    for name in models.names():
        usual = models.create(name)
        if isinstance(usual, family.MODEL):
            lacking = sum(not hasattr(usual, key) for key in stated)
            different = sum(getattr(usual, key, usual) != value for key, value in stated.items())
            trial = (lacking, different, -likeness(name, aliases)), name
            nearest[type(usual)] = min(trial, nearest.get(type(usual), trial))
    least = min((rank[0] for rank, _ in nearest.values()), default=0)
    return [name for rank, name in sorted(nearest.values()) if rank[0] == least]


def family_of(files: Mapping[str, Config]) -> ModuleType | None:
    """Returns the map of the family that config.json states, by timm's architecture or transformers' model_type.

    A model_type or a class that has the tensors of a model here, but another name, may compute something else; so what
    is claimed is what the families list, and shapes decide nothing.

    Args:
      files: as `sidecar_files.read` returns them.

    Returns:
      The map, or None where config.json says neither.

    Raises:
      InputError: no family here claims what it states.
    """
    config = files.get("config.json", {})
    if config.get("architecture"):
        return timm_config.claim(config).family
    kind = _kind(config)
    return _kinds()[kind] if kind else None


def with_config(files: Mapping[str, Config]) -> dict[str, Config]:
    """Returns the files with a config.json of transformers in place of a configuration of a family's own library.

    Args:
      files: as `sidecar_files.read` returns them. Where they have a config.json, nothing is added.

    Raises:
      InputError: that file states something that the model here does not have.
    """
    own = (entry for family in maps.families() for entry in getattr(family, "CONFIGS", {}).items())
    name, read = next((entry for entry in own if entry[0] in files), ("", None))
    return {**files, "config.json": read(files[name])} if read and "config.json" not in files else dict(files)


def fields(files: Mapping[str, Config], kind: type | None = None) -> dict[str, Any]:
    """Returns the model's fields that the files state: of its structure, its input and its preprocessing.

    Args:
      files: as `sidecar_files.read` returns them.
      kind: the class of the model, where it is given; of a pair of towers, one may be wanted alone.

    Raises:
      InputError: they state something that the model here does not have.
    """
    return preprocessing(files) | structure(files, kind)


def structure(files: Mapping[str, Config], kind: type | None = None) -> dict[str, Any]:
    """Returns the fields of `fields` without those of the preprocessing."""
    config = files.get("config.json", {})
    stated = dict(timm_config.fields(config)) if config.get("architecture") else dict(_transformers(config, kind))
    stated |= _sentence(files)
    if family := family_of(files):
        model_fields.check(family.MODEL, stated, "config.json")
    return stated


def preprocessing(files: Mapping[str, Config]) -> dict[str, Any]:
    """Returns the fields `pixels` and `image_size` that the files state of how images are prepared."""
    found = sidecar_files.preprocessing(files)
    if not found:
        return {}
    content, _ = found
    size = {"image_size": content["size"]} if "size" in content else {}
    return size | {"pixels": Pixels.of({key: value for key, value in content.items() if key != "size"})}


def class_names(files: Mapping[str, Config]) -> tuple[str, ...]:
    """Returns the names of the classes in order, or none where the files don't say.

    Args:
      files: as `sidecar_files.read` returns them.
    """
    config = files.get("config.json", {})
    given = config.get("pretrained_cfg", config)
    names = given.get("label_names") if isinstance(given, dict) else None
    labels = config.get("id2label")
    if isinstance(labels, dict) and not all(str(name).startswith("LABEL_") for name in labels.values()):
        names = [labels.get(str(i)) for i in range(len(labels))]
    return tuple(map(str, names)) if isinstance(names, list) and None not in names else ()


@functools.cache
def _kinds() -> dict[str, ModuleType]:
    """transformers' model_type → the map of the family that claims it."""
    return {kind: family for family in maps.families() for kind in getattr(family, "STATED", {})}


def _kind(config: Config) -> str | None:
    """transformers' model_type; where an old config.json has none, the one that its class is called after.

    Raises:
      InputError: no family claims it, or the class is of another one.
    """
    stated, classes = config.get("model_type"), config.get("architectures")
    classes = [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    if not stated and not classes:
        return None
    kind = str(stated) if stated else next((k for k in _kinds() if _is_class_of(k, classes[0])), classes[0])
    if kind not in _kinds():
        raise InputError(
            f"config.json calls it {kind!r:.80}, which no model here is known to compute, whatever shapes it has; the "
            f"types of transformers that are: {', '.join(sorted(_kinds()))}"
        )
    same = [other for other, family in _kinds().items() if family is _kinds()[kind]]
    for name in classes:
        if not any(_is_class_of(other, name) for other in same):
            raise InputError(
                f"config.json calls it {name!r:.80}, which is no class of transformers' {kind} that is known here"
            )
    return kind


_CLASSES = r"(for\w+|lmheadmodel|mtmodel|((encoder|vision|text)?model)?(withprojection)?|backbone)"


def _is_class_of(kind: str, name: str) -> bool:
    """Whether a class of transformers, such as "BertForMaskedLM", is called after a model_type."""
    return re.fullmatch("".join(filter(str.isalnum, kind)) + _CLASSES, name.lower()) is not None


_LABEL = schema.either(schema.text(10_000), schema.number(-1e30, 1e30))
_COMMON = {
    "architectures": schema.optional(schema.many(schema.TEXT, 0, 100)),
    "id2label": schema.optional(schema.table(_LABEL)),
    "num_labels": schema.whole(0, 1 << 24),
    "num_channels": schema.CHANNELS,
}
"""What the readers of all families are given beside their own fields."""


def _transformers(config: Config, wanted: type | None) -> dict[str, Any]:
    kind = _kind(config)
    if kind is None:
        return {}
    family = _kinds()[kind]
    config = family.part(config, wanted) if wanted and hasattr(family, "part") else config
    reader, required = family.STATED[kind]
    for key, value in required.items():
        if config.get(key, value) != value:
            raise InputError(f"config.json: {key}={schema.shown(config[key])}; the model here has {value!r} only")
    config = schema.checked(config, _COMMON | family.FIELDS, "config.json")
    try:
        stated = {key: as_tuples(value) for key, value in reader(config).items()}
    except KeyError as error:
        raise InputError(f"config.json of type {kind!r} lacks {error}") from None
    return stated | ({"channels": config["num_channels"]} if "num_channels" in config else {})


def _sentence(files: Mapping[str, Any]) -> dict[str, Any]:
    """What sentence-transformers' files state of a model that transformers' config.json names."""
    family = None if files.get("config.json", {}).get("architecture") else family_of(files)
    if family is None:
        return {}
    stated, usual = sentence_transformers.read(files), {"head": "embed", "pooling": None, "normalize": True}
    known = {field.name for field in dataclasses.fields(family.MODEL)}
    for key, value in stated.items():
        if key not in known and value != usual[key]:
            raise InputError(
                f"{sentence_transformers.MODULES}: {key}={value!r}, which {family.MODEL.__name__} does not have here"
            )
    return stated
