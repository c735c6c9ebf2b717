"""The arguments with which timm builds a model of ours: those in which it differs from what its name gives."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.models.chain import HOW

_FREE = (
    *HOW,
    *("num_classes", "image_size", "channels", "pixels", "dropout", "drop_path", "head", "normalize", "parent", "name"),
)


def arguments(name: str, model: Any, table: Mapping[str, Any], free: Collection[str] = ()) -> dict[str, Any]:
    """timm's arguments for a model, by the table `TIMM` of its family.

    Args:
      name: the model's, one of `models.names()`.
      table: timm's argument → our field; entries that are functions are left to the caller.
      free: fields that the caller answers for.

    Raises:
      InputError: the model differs from its name in a field that timm can't be told.
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
