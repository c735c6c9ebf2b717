"""Models by name. A family is one file with a table `MODELS` of names, and one entry in `FAMILIES`."""

import dataclasses
from typing import Any

from jtransfer.core.errors import unknown
from jtransfer.models import (
    bart,
    bert,
    clip,
    convnext,
    densenet,
    distilbert,
    efficientnet,
    gpt2,
    llama,
    mlp,
    mobilenet,
    recurrent,
    resnet,
    roberta,
    swin,
    t5,
    vgg,
    vit,
)
from jtransfer.models.chain import Chain, ImageChain
from jtransfer.models.earlier import upgrade_fields

FAMILIES = (
    resnet,
    vgg,
    efficientnet,
    convnext,
    mobilenet,
    densenet,
    vit,
    clip,
    swin,
    gpt2,
    llama,
    t5,
    bart,
    bert,
    roberta,
    distilbert,
    recurrent,
    mlp,
)

__all__ = ["Chain", "ImageChain", "create", "names", "upgrade_fields"]


def names() -> tuple[str, ...]:
    """All model names, sorted."""
    return tuple(sorted(_table()))


def create(name: str, num_classes: int = 1000, **fields: Any) -> Chain:
    """The model called `name`, without parameters.

    Args:
      name: one of `names()`.
      num_classes: width of the head.
      **fields: any other field of the model's class, such as `dtype` or `image_size`; lists, as in JSON, are tuples.

    Raises:
      InputError: no such model, or no such field; the nearest are named.
    """
    if name not in _table():
        raise unknown("model", name, names())
    build = _table()[name]
    known = [field.name for field in dataclasses.fields(build.func) if field.name not in ("parent", "name")]
    for field in fields:
        if field not in known:
            raise unknown(f"field of {name}", field, known)
    return build(num_classes=num_classes, **{field: _tuples(value) for field, value in fields.items()})


def of_images(name: str) -> bool:
    """Is this the name of a model of images?"""
    return name in _table() and issubclass(_table()[name].func, ImageChain)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _table() -> dict:
    return {name: build for family in FAMILIES for name, build in family.MODELS.items()}
