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
import sys
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
from flax.core import FrozenDict

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

MADE = {
    "compose": "jtransfer.models.composed",
    "backbones": "jtransfer.models.backbones",
    "ensemble": "jtransfer.models.ensemble",
}
"""Models that are made of other models → the module with `build`, which makes one; `parts`, which tells the names and
fields of the parts from those of the whole; and `join`, which puts them back."""

SINGLE = {
    "channels": "jtransfer.models.channels:MODELS",
    "decision_tree": "jtransfer.models.fitted:MODELS",
    "random_forest": "jtransfer.models.fitted:MODELS",
    "gradient_boosting": "jtransfer.models.fitted:MODELS",
    "logistic_regression": "jtransfer.models.fitted:MODELS",
}
"""Models that are parts of others, or are fitted, of which no library has weights → the table that they stand in."""

_IF_KNOWN = ("num_classes", "dtype")  # fields that are left out where a class that a user brings does not have them

__all__ = [
    "FAMILIES",
    "MADE",
    "SINGLE",
    "Chain",
    "ImageChain",
    "compose",
    "create",
    "fields_of",
    "join",
    "names",
    "parts",
    "upgrade_fields",
]


def names() -> tuple[str, ...]:
    """The names of the models of all families, sorted; those in `MADE` and `SINGLE` are no family's."""
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
    made = {key: _as_field(value, ours) for key, value in given.items() if known is None or key in known}
    model = _made(build, made)
    if not isinstance(model, nn.Module):
        raise InputError(f"{name!r} makes a {type(model).__name__}; it must be, or make, a module of flax")
    return model


def compose(source: Any, adapter: Any = 0, target: Any = "mlp", **fields: Any) -> nn.Module:
    """Returns a model of the first stages of one model and the last stages of another, with a dense layer in between.

        models.compose("resnet18", 64, {"name": "mlp", "widths": (32,)}, cut="head", num_classes=10)

    The stages are those of the source up to `cut`, "adapter", and those of the target from `target_start` on. A stage
    of the target whose name the source has already is called "target_…".

    Args:
      source: The name of the model that takes the input, or a dict of its "name" and its fields.
      adapter: The width of the dense layer "adapter", which has no activation; True is the width that the target takes,
        0 is no such layer.
      target: The name of the model whose last stages are taken, or a dict of its "name" and its fields. One that takes
        vectors is as wide as what it is given, unless it states its `num_features`.
      **fields: `cut`, the first stage of the source that is left out, by default "head"; `target_start`, the first
        stage of the target that is taken, by default its first; `num_classes` and `dtype`; and fields of the source.

    Raises:
      InputError: A part has no stages, there is no such stage, or what the source gives does not fit the target.
    """
    return create("compose", source=source, adapter=adapter, target=target, **fields)


def parts(name: str, fields: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns the models that a model is made of, part → (name, fields); {} for a model that is made of no others.

    Args:
      name: The name of the model.
      fields: Its fields, as a config gives them. They are not checked.
    """
    return importlib.import_module(MADE[name]).parts(fields) if name in MADE else {}


def join(name: str, fields: Mapping[str, Any], found: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Returns the fields of a model with other models as its parts; the inverse of `parts`."""
    return importlib.import_module(MADE[name]).join(fields, found)


def fields_of(name: str) -> list[str] | None:
    """Returns the names of the fields of the model of a name; None where it takes any.

    Raises:
      InputError: There is no such model.
    """
    return _fields(_builder(name))


@functools.cache
def _table() -> dict[str, functools.partial]:
    families = (importlib.import_module(f"{__name__}.{family}") for family in FAMILIES)
    return {name: build for family in families for name, build in family.MODELS.items()}


def _builder(name: str) -> Callable[..., Any]:
    """The class, function or partial that makes the model of a name."""
    if name in _table():
        return _table()[name]
    if name in MADE:
        return importlib.import_module(MADE[name]).build
    if name in SINGLE:
        return registry.load(SINGLE[name], "model")[name]
    if not registry.is_address(name):
        raise unknown("model", name, (*names(), *MADE, *SINGLE))
    found = registry.load(name, "model")
    if not callable(found) or isinstance(found, nn.Module):
        raise InputError(f"{name!r} is a {type(found).__name__}; give a class of modules, or a function that makes one")
    return found


def _as_field(value: Any, ours: bool) -> Any:
    return FrozenDict(value) if ours and isinstance(value, Mapping) else trees.as_tuples(value)


def _is_module(build: Callable) -> bool:
    made = build.func if isinstance(build, functools.partial) else build
    return isinstance(made, type) and issubclass(made, nn.Module)


def _made(build: Callable, fields: Mapping[str, Any]) -> Any:
    if _is_nnx(build):
        return importlib.import_module(f"{__name__}.from_nnx").from_nnx(build, **fields)
    return build(**fields, **({"parent": None} if _is_module(build) else {}))  # also where another model asks for it


def _is_nnx(build: Callable) -> bool:
    nnx = sys.modules.get("flax.nnx")  # which whoever defines such a class has imported
    return nnx is not None and isinstance(build, type) and issubclass(build, nnx.Module)


def _fields(build: Callable[..., Any]) -> list[str] | None:
    """The names of the fields that a class or function takes; None where it takes any."""
    made = build.func if isinstance(build, functools.partial) else build
    if isinstance(made, type) and dataclasses.is_dataclass(made):
        return [field.name for field in dataclasses.fields(made) if field.init and field.name not in ("parent", "name")]
    called = functools.partial(made.__init__, None) if _is_nnx(made) else build  # a metaclass calls it
    parameters = inspect.signature(called).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY]
