"""What timm's config.json states of a checkpoint's model: its architecture, and the arguments that it is made with."""

import functools
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

from jtransfer import models
from jtransfer.core.errors import InputError, nearest
from jtransfer.core.image_size import shortest
from jtransfer.core.tree import as_tuples
from jtransfer.weights import maps, schema
from jtransfer.weights.maps.timm_arguments import ARGUMENTS

_OTHERWISE = ("num_classes", "in_chans", "pretrained", "checkpoint_path")  # stated elsewhere, or of no model
_TRAINING = re.compile(r"(\w+_)?drop(out|_path|_block)?_rate|weight_init|fix_init|ls_init_value|dynamic_img_size")
_USUAL = {"global_pool": "avg", "output_stride": 32}  # of families that say nothing else of these
_OLD = re.compile(r"^(tv|gluon|ssl|swsl)_|_v1b$|(_384)?_in22ft1k$|_in2[12]k$|_(sam|dino|ap|ns)$")


class Claim(NamedTuple):
    """What an architecture of timm is here.

    Attributes:
      family: the map of the family whose model computes it.
      name: the model's name in `models.names()`.
      fields: in which it differs from the model of that name.
    """

    family: ModuleType
    name: str
    fields: Mapping[str, Any]


def claim(config: Mapping[str, Any]) -> Claim:
    """Returns what the architecture that a config.json states is here.

    Before timm had tags, a model's name said which weights it has, as in "tf_efficientnet_b0_ns"; that is left out.

    Raises:
      InputError: no family claims the architecture, whatever shapes its tensors have. The nearest names are given.
    """
    architecture = str(config["architecture"]).split(".")[0]
    claims = _claims()
    found = claims.get(architecture) or claims.get(_OLD.sub("", architecture))
    if found is None:
        near = ", ".join(nearest(architecture, claims)) or "none"
        raise InputError(
            f"config.json calls it {architecture!r:.80}, which no model here is known to compute, whatever shapes it "
            f"has; nearest of timm's architectures that are: {near}"
        )
    return found


@functools.cache
def _claims() -> dict[str, Claim]:
    """timm's architecture → what it is here, of all that a family claims: by a table, or by the names of its models."""
    claimed = {}
    for family in maps.families():
        table = family.TIMM_MODELS if hasattr(family, "TIMM_MODELS") else _by_name(family)
        claimed |= {architecture: Claim(family, name, fields) for architecture, (name, fields) in table.items()}
    return claimed


def _by_name(family: ModuleType) -> dict[str, tuple[str, dict[str, Any]]]:
    ours = [(name, models.create(name)) for name in models.names()] if hasattr(family, "timm") else []
    return {family.timm(name, model)[0]: (name, {}) for name, model in ours if isinstance(model, family.MODEL)}


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of the model that a config.json states: by the architecture, by arguments and by the input.

    Raises:
      InputError: no family claims the architecture, or its model here does not have what an argument says.
    """
    family, name, stated = claim(config)
    args = {key: value for key, value in (config.get("model_args") or {}).items() if value is not None}  # as timm does
    schema.check(args, ARGUMENTS, "config.json: model_args")
    size = config.get("pretrained_cfg", config).get("input_size")
    stated = {**stated, **({"image_size": shortest(size[1:]), "channels": size[0]} if size else {})}
    stated |= {"channels": args["in_chans"]} if "in_chans" in args else {}
    return stated | _arguments(name, args, getattr(family, "TIMM", {}))


def _arguments(name: str, args: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    stated = {}
    for key, value in args.items():
        if key in table:
            field = table[key]
            stated |= {field: as_tuples(value)} if isinstance(field, str) else field(args)
        elif key in _USUAL and value == _USUAL[key]:
            continue
        elif key not in _OTHERWISE and not _TRAINING.fullmatch(key):
            raise InputError(
                f"config.json: model_args has {key:.80}={schema.shown(value)}, which {name} does not take here"
            )
    return stated
