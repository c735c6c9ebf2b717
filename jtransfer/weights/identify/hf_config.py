"""What the config.json of transformers or timm states of a checkpoint's model: its name and its fields here."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import shortest
from jtransfer.core.tree import as_tuples
from jtransfer.models.chain import Pixels
from jtransfer.weights import maps
from jtransfer.weights.identify import sentence_transformers, sidecar_files
from jtransfer.weights.identify.detect import likeness

Config = Mapping[str, Any]


def names(files: Mapping[str, Config], aliases: Sequence[str] = (), *, preprocessed: bool = True) -> list[str]:
    """Returns the names in `models.names()` that the model which config.json states may have, the likeliest first.

    For timm's architecture, it is the model that timm calls so. For transformers' model_type, it is one model of each
    class in its family: the one that differs from what config.json states in the fewest fields, and among several of
    these, the one whose name is most like an alias. There is none where
    config.json states no family that is known here.

    Args:
      files: as `sidecar_files.read` returns them.
      aliases: what the checkpoint is called elsewhere, such as by its file.
      preprocessed: as for `fields`.

    Raises:
      InputError: it states something that no model of the family has.
    """
    config = files.get("config.json", {})
    if "architecture" in config:
        architecture = str(config["architecture"]).split(".")[0]
        wanted = (architecture, architecture.removeprefix("tf_"))
        return [name for timm_name, name in _named_by_timm() if timm_name in wanted]
    family, stated = _family(config), fields(files, preprocessed=preprocessed)
    if "pixels" in stated:
        stated["pixels"] = dataclasses.replace(stated["pixels"], transform=None)  # as models have it by themselves
    nearest: dict[type, tuple[tuple[int, float], str]] = {}
    if family is None:
        return []
    for name in models.names():
        usual = models.create(name)
        if isinstance(usual, family.MODEL):
            different = sum(getattr(usual, key, usual) != value for key, value in stated.items())
            trial = (different, -likeness(name, aliases)), name
            nearest[type(usual)] = min(trial, nearest.get(type(usual), trial))
    return [name for _, name in sorted(nearest.values())]


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


def fields(files: Mapping[str, Config], *, preprocessed: bool = True) -> dict[str, Any]:
    """Returns the model's fields that the files state: of its structure, its input and its preprocessing.

    Args:
      files: as `sidecar_files.read` returns them.
      preprocessed: whether their preprocessing is wanted; else it is not read, and may be any.

    Raises:
      InputError: they state something that the model here does not have.
    """
    config = files.get("config.json", {})
    stated = dict(_timm(config)) if "architecture" in config else dict(_transformers(config))
    stated |= _sentence(files)
    preprocessing = sidecar_files.preprocessing(files) if preprocessed else None
    if preprocessing:
        content, _ = preprocessing
        if "size" in content:
            stated.setdefault("image_size", content["size"])
        stated["pixels"] = Pixels.of({key: value for key, value in content.items() if key != "size"})
    return stated


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


def _timm(config: Config) -> dict[str, Any]:
    args = config.get("model_args") or {}
    known = {name: field for family in maps.families() for name, field in getattr(family, "TIMM", {}).items()}
    strange = sorted(args.keys() - {*known, "in_chans", "num_classes", "pretrained"})
    if strange:
        raise InputError(f"config.json: model_args has {strange[0]}={args[strange[0]]!r}, which no model here takes")
    size = config.get("pretrained_cfg", config).get("input_size")
    stated = {"image_size": shortest(size[1:]), "channels": size[0]} if size else {}
    stated |= {"channels": args["in_chans"]} if "in_chans" in args else {}
    for name, field in known.items():
        if name in args:
            stated |= {field: as_tuples(args[name])} if isinstance(field, str) else field(args)
    return stated


def _named_by_timm() -> Iterator[tuple[str, str]]:
    """The name in timm, and the name here, of each model that both have."""
    for name in models.names():
        model = models.create(name)
        try:
            yield maps.family(model).timm(name, model)[0], name
        except (AttributeError, InputError):
            continue


def _family(config: Config) -> ModuleType | None:
    """The family that transformers' model_type is of."""
    kind = config.get("model_type")
    return next((family for family in maps.families() if kind in getattr(family, "STATED", {})), None)


def _transformers(config: Config) -> dict[str, Any]:
    family = _family(config)
    if family is None:
        return {}
    reader, required = family.STATED[config["model_type"]]
    for key, value in required.items():
        if config.get(key, value) != value:
            raise InputError(f"config.json: {key}={config[key]!r}; the model here has {value!r} only")
    try:
        stated = {key: as_tuples(value) for key, value in reader(config).items()}
    except (KeyError, TypeError) as error:
        raise InputError(f"config.json of type {config['model_type']!r} lacks {error}") from None
    return stated | ({"channels": config["num_channels"]} if "num_channels" in config else {})


def _sentence(files: Mapping[str, Any]) -> dict[str, Any]:
    """What sentence-transformers' files state of a model that transformers' config.json names."""
    family = _family(files.get("config.json", {}))
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
