"""The tables of every family. A family is one file with `MODEL` and `schemes(model)`, and one entry in `FAMILIES`."""

from typing import Any

from jtransfer.errors import InputError
from jtransfer.weights.mapping import Scheme
from jtransfer.weights.maps import convnext, densenet, efficientnet, mobilenet_v2, mobilenet_v3, resnet, vgg

FAMILIES = (resnet, vgg, efficientnet, convnext, mobilenet_v2, mobilenet_v3, densenet)


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
