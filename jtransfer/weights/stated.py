"""What a checkpoint's config.json states of its model, as fields of ours."""

from collections.abc import Mapping
from typing import Any

from jtransfer.errors import InputError
from jtransfer.models.chain import Pixels
from jtransfer.weights import beside, maps

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


def _timm(config: Config) -> dict[str, Any]:
    args = config.get("model_args") or {}
    known = {theirs: ours for family in maps.FAMILIES for theirs, ours in getattr(family, "TIMM", {}).items()}
    strange = sorted(args.keys() - {*known, "in_chans", "num_classes", "pretrained"})
    if strange:
        raise InputError(f"config.json: model_args has {strange[0]}={args[strange[0]]!r}, which no model here takes")
    size = config.get("pretrained_cfg", config).get("input_size")
    found = {"image_size": int(size[-1]), "channels": int(size[0])} if size else {}
    found |= {"channels": args["in_chans"]} if "in_chans" in args else {}
    for theirs, ours in known.items():
        if theirs in args:
            found |= {ours: _plain(args[theirs])} if isinstance(ours, str) else ours(args)
    return found


def _transformers(config: Config) -> dict[str, Any]:
    kind = config.get("model_type")
    for family in maps.FAMILIES:
        if kind not in getattr(family, "STATED", {}):
            continue
        reader, required = family.STATED[kind]
        for key, value in required.items():
            if config.get(key, value) != value:
                raise InputError(f"config.json: {key}={config[key]!r}; the model here has {value!r} only")
        try:
            found = {key: _plain(value) for key, value in reader(config).items()}
        except (KeyError, TypeError) as error:
            raise InputError(f"config.json of type {kind!r} lacks {error}") from None
        return found | ({"channels": config["num_channels"]} if "num_channels" in config else {})
    return {}


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list) else value
