"""The model that a complete config describes."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.core.image_size import shortest
from jtransfer.modalities import Modality, faces
from jtransfer.weights.identify import manifest


def create(config: Any, modality: Modality, num_classes: int) -> Any:
    """The model that a config with a model's name describes.

    Raises:
      InputError: a field is wrong, or one that the data decide, or the model does not take such inputs.
    """
    try:
        dtype = jnp.dtype(config.model.dtype)
    except TypeError:
        dtype = jnp.dtype(bool)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"model.dtype={config.model.dtype!r}: give float32 or bfloat16")
    name, fields = config.model.name, given_fields(config)
    _refuse(fields, {"dtype": "model.dtype", "num_classes": "the data's number of classes"})
    usual = manifest.create(name, fields, num_classes=num_classes)
    takes = getattr(usual, "takes", ())
    if takes and modality.kind not in takes:
        kinds = " or ".join(takes)
        raise InputError(f"model {name!r} takes {kinds}, and these are {modality.nouns[1]}; name another in model.name")
    decided: dict[str, Any] = {}
    for face in faces.of(usual).values():
        decided |= modality.model_fields(face, config.init)
    _refuse(fields, {field: f"data.{field}" for field in decided})
    return manifest.create(name, fields, num_classes=num_classes, dtype=dtype, **decided)


def given_fields(config: Any) -> dict[str, Any]:
    """The fields of the model that a config gives.

    Raises:
      InputError: `image_size` is none.
    """
    fields = config.model.fields.to_dict()
    return fields | ({"image_size": _image_size(fields["image_size"])} if "image_size" in fields else {})


def _refuse(fields: Mapping[str, Any], decided: Mapping[str, str]) -> None:
    for field in decided.keys() & fields.keys():
        raise InputError(f"model.fields.{field} is given by {decided[field]}; leave it out")


def _image_size(size: Any) -> int | tuple[int, int]:
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"model.fields.image_size={size!r} must be a positive number of pixels, or (height, width)")
    return shortest(sides)
