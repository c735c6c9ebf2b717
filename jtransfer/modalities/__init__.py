"""Modalities: kinds of input. Each is one folder or file with all that is known of it, and one entry here.

A modality has readers, transforms, preprocessing, the files that a run keeps, and how an example is given to `predict`
and shown in a report. Nothing outside of its folder asks which one it is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry
from jtransfer.modalities.base import Modality, fields, of_config

MODALITIES = Registry(
    "modality",
    {
        "image": "jtransfer.modalities.image.modality:Image",
        "text": "jtransfer.modalities.text.modality:Text",
        "vector": "jtransfer.modalities.vector.modality:Vector",
    },
)

__all__ = ["MODALITIES", "Modality", "fields", "foreign_fields", "of_config", "told"]


def told(name: str, example: Mapping[str, Any]) -> tuple[str, type[Modality]]:
    """The modality called `name`, or, where that is empty, the one that an example is of; and its name.

    Raises:
      InputError: no such modality, or none that has such examples.
    """
    if name:
        chosen = MODALITIES[name]
        if not chosen.accepts(example):
            raise InputError(f"modality={name!r} does not have examples with {', '.join(example)}")
        return name, chosen
    for name, known in MODALITIES.items():
        if known.accepts(example):
            return name, known
    raise InputError(
        f"no modality has examples with {', '.join(example)}; name one in config.modality: {', '.join(MODALITIES)}, "
        "or an address"
    )


def foreign_fields(chosen: type[Modality], config: Mapping[str, Any]) -> Iterator[tuple[str, type[Modality]]]:
    """The fields of a `config.data` that are set, but are of another modality than the one that is chosen."""
    own = fields(chosen)
    for other in MODALITIES.values():
        for name, default in fields(other).items():
            if name not in own and name in config and config[name] != default:
                yield name, other
