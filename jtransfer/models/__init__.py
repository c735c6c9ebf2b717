"""Models by name.

    model = models.create("resnet50", num_classes=10)
    variables = model.init(jax.random.key(0), model.example_input())

A family is a file in this package with a table `MODELS` of names, and an entry in `FAMILIES`. A model from elsewhere
needs no entry: `models.create("package.module:Model")` and `models.create("file.py:Model")` find it.
"""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from jtransfer.core import registry
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.models.chain import Chain, ImageChain, Pixels
from jtransfer.models.earlier import upgrade_fields

FAMILIES = (
    "resnet",
    "vgg",
    "efficientnet",
    "convnext",
    "mobilenet_v2",
    "mobilenet_v3",
    "densenet",
    "vit",
    "clip",
    "swin",
    "gpt2",
    "llama",
    "t5",
    "bart",
    "bert",
    "roberta",
    "distilbert",
    "recurrent",
    "mlp",
)
"""The modules of this package that have models, and of `weights.maps` that have their names in other libraries."""

_IF_KNOWN = ("num_classes", "dtype")  # fields that are left out where a class that a user brings does not have them

__all__ = ["FAMILIES", "Chain", "ImageChain", "create", "names", "upgrade_fields"]


def names() -> tuple[str, ...]:
    """The names of all models, sorted."""
    return tuple(sorted(_table()))


def create(name: str, num_classes: int = 1000, **fields: Any) -> nn.Module:
    """Makes the model of a name, without parameters.

    Args:
      name: One of `names()`, or the address of a class of models, or of a function that makes one:
        "package.module:Model" or "path/file.py:Model".
      num_classes: The number of classes, of a model that has this field.
      **fields: Any other fields of the model's class, such as `dtype` or `image_size`. Lists, as JSON has them, become
        tuples, and `pixels` may be a dict.

    Raises:
      InputError: There is no such model or no such field (the nearest are named), or what is at the address makes no
        module.
    """
    build, ours = _builder(name), not registry.is_address(name)
    known, given = _fields(build), {"num_classes": num_classes, **fields}
    if ours and isinstance(given.get("pixels"), Mapping):
        given["pixels"] = Pixels.of(given["pixels"])
    for field in given:
        if known is not None and field not in known and (ours or field not in _IF_KNOWN):
            raise unknown(f"field of {name}", field, known)
    model = build(**{key: trees.as_tuples(value) for key, value in given.items() if known is None or key in known})
    if not isinstance(model, nn.Module):
        raise InputError(f"{name!r} makes a {type(model).__name__}; it must be, or make, a module of flax.linen")
    return model


@functools.cache
def _table() -> dict[str, functools.partial]:
    families = (importlib.import_module(f"{__name__}.{family}") for family in FAMILIES)
    return {name: build for family in families for name, build in family.MODELS.items()}


def _builder(name: str) -> Callable[..., Any]:
    """The class, function or partial that makes the model of a name."""
    if name in _table():
        return _table()[name]
    if not registry.is_address(name):
        raise unknown("model", name, names())
    found = registry.load(name, "model")
    if not callable(found) or isinstance(found, nn.Module):
        raise InputError(f"{name!r} is a {type(found).__name__}; give a class of modules, or a function that makes one")
    return found


def _fields(build: Callable[..., Any]) -> list[str] | None:
    """The names of the fields that a class or function takes; None where it takes any."""
    made = build.func if isinstance(build, functools.partial) else build
    if isinstance(made, type) and dataclasses.is_dataclass(made):
        return [field.name for field in dataclasses.fields(made) if field.init and field.name not in ("parent", "name")]
    parameters = inspect.signature(build).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY]
