"""The arguments with which timm makes a model."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import shortest
from jtransfer.models.chain import HOW
from jtransfer.weights.schema import (
    CHANNELS,
    FLAG,
    HEADS,
    LAYERS,
    OBJECT,
    RATE,
    SIDE,
    SIDES,
    SIZE,
    TEXT,
    either,
    many,
    number,
    optional,
    text,
    whole,
)

_CHANNEL = number(-1e6, 1e6)
_FREE = (
    *HOW,
    *("num_classes", "image_size", "channels", "pixels", "dropout", "drop_path", "head", "normalize", "parent", "name"),
)


_COUNTS = either(HEADS, many(HEADS, 1, 100))
ARGUMENTS = {
    **dict.fromkeys(("depths", "layers", "block_config"), many(LAYERS, 1, 100)),
    **dict.fromkeys(("dims", "channels"), many(SIZE, 1, 100)),
    **dict.fromkeys(("embed_dim", "stem_width", "cardinality", "base_width", "growth_rate"), SIZE),
    "depth": LAYERS,
    "num_heads": _COUNTS,
    "patch_size": SIDE,
    "img_size": SIDES,
    "window_size": either(whole(1, 1024), many(whole(1, 1024), 2, 2)),
    "mlp_ratio": number(0.01, 1000),
    "init_values": optional(number(-1e6, 1e6)),
    "bn_eps": RATE,
    "in_chans": CHANNELS,
    **dict.fromkeys(("global_pool", "act_layer"), TEXT),
    "stem_type": TEXT,
    **dict.fromkeys(("replace_stem_pool", "avg_down"), FLAG),
    "block_args": OBJECT,
}
"""The kinds of timm's arguments, of which each family has some."""
PRETRAINED = {
    "input_size": many(SIDE, 3, 3),
    **dict.fromkeys(("mean", "std"), optional(either(_CHANNEL, many(_CHANNEL, 1, 4096)))),
    "crop_pct": optional(either(number(0.05, 20), whole(0, 0))),
    **dict.fromkeys(("interpolation", "crop_mode"), optional(TEXT)),
    "label_names": optional(many(text(10_000), 0, 1 << 24)),
}
"""The kinds of what timm's `pretrained_cfg` says of images and classes."""


def only(**usual: Any) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Returns entries of a table `TIMM` for arguments of timm that have one value here, by the name of the argument.

    Each is a function from all arguments to no field. It raises InputError where its argument has another value.
    """

    def entry(key: str, value: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        def read(args: Mapping[str, Any]) -> dict[str, Any]:
            if args[key] != value:
                given = f"config.json: model_args has {key}={args[key]!r}, which no model here takes"
                raise InputError(f"{given}; they have {value!r} only")
            return {}

        return read

    return {key: entry(key, value) for key, value in usual.items()}


def image_size(args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the field `image_size` that timm's argument `img_size` states, for a table `TIMM`."""
    return {"image_size": shortest(args["img_size"])}


def arguments(name: str, model: Any, table: Mapping[str, Any], free: Collection[str] = ()) -> dict[str, Any]:
    """The arguments of timm for the fields in which a model differs from what its name gives.

    Args:
      name: The name of the model.
      model: The model.
      table: timm's argument → field, the table `TIMM` of the family. Entries that are functions are left to the caller.
      free: Fields that the caller takes care of.

    Raises:
      InputError: The model differs in a field that no argument of timm sets.
    """
    usual = models.create(name)
    told = {ours: theirs for theirs, ours in table.items() if isinstance(ours, str)}
    found = {}
    for field in (field.name for field in dataclasses.fields(model)):
        value = getattr(model, field)
        if field in (*_FREE, *free) or value == getattr(usual, field):
            continue
        if field not in told:
            raise InputError(f"timm has {name} with {field}={getattr(usual, field)!r} only")
        found[told[field]] = list(value) if isinstance(value, tuple) else value
    return found
