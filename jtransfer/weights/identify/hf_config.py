"""What a checkpoint's config.json states of its model: its name here, and fields of ours."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.models.chain import Pixels
from jtransfer.weights import maps
from jtransfer.weights.identify import sentence_transformers, sidecar_files
from jtransfer.weights.identify.detect import likeness

Config = Mapping[str, Any]


def names(files: Mapping[str, Config], called: Sequence[str] = ()) -> list[str]:
    """The names here that the model which config.json states may have; none where it states none of a family here.

    Of timm's architecture, the one with this name there; of transformers' model_type, for each class of models of its
    family the one which differs from the stated fields in the fewest, and of several the one most like what the
    checkpoint is called.

    Args:
      files: as `sidecar_files.read` gives them.
      called: what the checkpoint is called elsewhere.

    Raises:
      InputError: it states something that no model of the family has.
    """
    config = files.get("config.json", {})
    if "architecture" in config:
        architecture = str(config["architecture"]).split(".")[0]
        return [name for theirs, name in _named_by_timm() if theirs in (architecture, architecture.removeprefix("tf_"))]
    family, told = _family(config), fields(files)
    nearest: dict[type, tuple[tuple[int, float], str]] = {}
    for name in models.names() if family else ():
        usual = models.create(name)
        if isinstance(usual, family.MODEL):
            different = sum(getattr(usual, key, usual) != value for key, value in told.items())
            trial = (different, -likeness(name, called)), name
            nearest[type(usual)] = min(trial, nearest.get(type(usual), trial))
    return [name for _, name in sorted(nearest.values())]


def with_config(files: Mapping[str, Config]) -> dict[str, Config]:
    """The same with a config.json, as transformers has it, in place of a family's own file (its `CONFIGS`).

    Raises:
      InputError: that file states something that the model here does not have.
    """
    own = (entry for family in maps.FAMILIES for entry in getattr(family, "CONFIGS", {}).items())
    found = next(((name, read) for name, read in own if name in files and "config.json" not in files), None)
    return dict(files) | ({"config.json": found[1](files[found[0]])} if found else {})


def fields(files: Mapping[str, Config]) -> dict[str, Any]:
    """The fields that the files beside a checkpoint state: structure, input, preprocessing.

    Args:
      files: as `sidecar_files.read` gives them.

    Raises:
      InputError: they state something that the model here does not have.
    """
    config = files.get("config.json", {})
    found = dict(_timm(config)) if "architecture" in config else dict(_transformers(config))
    found |= _sentence(files)
    given = sidecar_files.preprocessing(files)
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


def _timm(config: Config) -> dict[str, Any]:
    args = config.get("model_args") or {}
    known = {theirs: ours for family in maps.FAMILIES for theirs, ours in getattr(family, "TIMM", {}).items()}
    strange = sorted(args.keys() - {*known, "in_chans", "num_classes", "pretrained"})
    if strange:
        raise InputError(f"config.json: model_args has {strange[0]}={args[strange[0]]!r}, which no model here takes")
    size = config.get("pretrained_cfg", config).get("input_size")
    found = {"image_size": size[1] if size[1] == size[2] else tuple(size[1:]), "channels": size[0]} if size else {}
    found |= {"channels": args["in_chans"]} if "in_chans" in args else {}
    for theirs, ours in known.items():
        if theirs in args:
            found |= {ours: _plain(args[theirs])} if isinstance(ours, str) else ours(args)
    return found


def _named_by_timm() -> Iterator[tuple[str, str]]:
    """timm's name and ours of each model that both have."""
    for name in models.names():
        model = models.create(name)
        try:
            yield maps.family(model).timm(name, model)[0], name
        except (AttributeError, InputError):
            continue


def _family(config: Config) -> ModuleType | None:
    """The family that transformers' model_type is of."""
    kind = config.get("model_type")
    return next((family for family in maps.FAMILIES if kind in getattr(family, "STATED", {})), None)


def _transformers(config: Config) -> dict[str, Any]:
    family = _family(config)
    if family is None:
        return {}
    reader, required = family.STATED[config["model_type"]]
    for key, value in required.items():
        if config.get(key, value) != value:
            raise InputError(f"config.json: {key}={config[key]!r}; the model here has {value!r} only")
    try:
        found = {key: _plain(value) for key, value in reader(config).items()}
    except (KeyError, TypeError) as error:
        raise InputError(f"config.json of type {config['model_type']!r} lacks {error}") from None
    return found | ({"channels": config["num_channels"]} if "num_channels" in config else {})


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


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list) else value
