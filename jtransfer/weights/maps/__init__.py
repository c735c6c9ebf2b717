"""The tables of every family. A family is one file with `MODEL` and `schemes(model)`, and one entry in `FAMILIES`.

A family whose weights leave something open that names and shapes don't show also has `fields(scheme, called)`.
"""

from collections.abc import Sequence
from typing import Any

from jtransfer.errors import InputError
from jtransfer.weights.mapping import Scheme
from jtransfer.weights.maps import (
    clip,
    convnext,
    densenet,
    efficientnet,
    gpt2,
    llama,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    vgg,
    vit,
)

FAMILIES = (resnet, vgg, efficientnet, convnext, mobilenet_v2, mobilenet_v3, densenet, vit, clip, gpt2, llama)


def schemes(model: Any) -> tuple[Scheme, ...]:
    """The naming schemes of `model`, the one to write by default first.

    Raises:
      InputError: no table for this class of model.
    """
    for family in FAMILIES:
        if isinstance(model, family.MODEL):
            return family.schemes(model)
    known = ", ".join(family.MODEL.__name__ for family in FAMILIES)
    raise InputError(f"no weights map for {type(model).__name__}; there are maps for {known}")


def fields(model: Any, scheme: str, called: Sequence[str]) -> dict[str, Any]:
    """Fields of `model` that names and shapes can't show, for weights of a library; None for one that can't be told.

    Args:
      model: of the family that the weights are of.
      scheme: the name of their naming scheme.
      called: what they are called elsewhere: timm's architecture, a file's name.
    """
    for family in FAMILIES:
        if isinstance(model, family.MODEL):
            return family.fields(scheme, called) if hasattr(family, "fields") else {}
    return {}
