"""Modalities: kinds of input, such as images and texts.

A modality is one folder with all that is known of it, and one entry here. It has readers, transforms, preprocessing,
the files that a run keeps, and how an example is given to `predict` and shown in a report. Nothing outside of its
folder asks which one it is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

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
    {"image": ("images", "vision"), "text": ("texts", "nlp"), "vector": ("vectors", "tabular")},
)

__all__ = ["MODALITIES", "Modality", "fields", "foreign_fields", "of_config", "told"]


def told(name: str, example: Mapping[str, Any]) -> tuple[str, type[Modality]]:
    """Returns the name and the class of a modality: that of a name, or the one that an example is of.

    Args:
      name: The name of the modality; "" takes the one that the example is of.
      example: An example of the source.

    Raises:
      InputError: There is no such modality, or none that has such examples.
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


def foreign_fields(
    chosen: type[Modality], config: Mapping[str, Any] | ConfigDict
) -> Iterator[tuple[str, type[Modality]]]:
    """Yields the fields of `config.data` that are set although they belong to another modality than the chosen one.

    Args:
      chosen: The modality that is chosen.
      config: The section `config.data`.

    Yields:
      Pairs of the name of a field and the modality that it belongs to.
    """
    own = fields(chosen)
    for other in MODALITIES.values():
        for name, default in fields(other).items():
            if name not in own and name in config and _stored(config[name]) != _stored(default):
                yield name, other


def _stored(value: Any) -> Any:
    """A value as it comes back from JSON, which has no tuples."""
    return list(value) if isinstance(value, tuple) else value
