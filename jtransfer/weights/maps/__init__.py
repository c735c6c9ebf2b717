"""The names that other libraries give to the parameters of our models, and what their config files mean.

The map of a family is a module. That of ours stands in this package, under the name of the family's file in
`jtransfer.models`; that of a model from elsewhere is the module which defines the model's class. Such a module has

    schemes(model)           the naming schemes of a model, the one to write by default first; a scheme of a library is
                             called after it, and of several of one library, the first is written

and, as far as there is something to say,

    MODEL                    the class of its models; every map in this package has it
    sizes(tensors)           see the function `sizes`
    fields(scheme, …)        see the function `fields`
    STATED                   transformers' model_type → (config.json → fields of the model, what that must state); a
                             model_type that no family has is refused
    FIELDS                   the kind of each value that its readers take of a config.json; they are given no other
    part(config, kind)       the config.json as that of a part alone which is a model of the class `kind`
    transformers(model)      the other way: config.json with `architectures` and `model_type`; raises InputError where
                             transformers has no such model
    CLASSIFIER               of encoders of texts: the dense layers of transformers' head for classes, in order, each
                             with the class of torch.nn.modules that follows it
    CONFIGS                  a file of the family's own → a function from its content to such a config.json
    TIMM_MODELS              timm's architecture → (name of the model, fields in which it differs from that), of all
                             that the family computes; an architecture that no family has is refused. By default, what
                             `timm` calls the models of the family
    TIMM                     timm's argument → field of the model, or a function of all arguments to such fields; any
                             other argument that is not of training alone is refused
    timm(name, model)        the other way: timm's architecture and arguments; raises InputError as above
    torchvision(name, model) the same of torchvision, where it has another name for the model
    open_clip(name, model)   the same of OpenCLIP
    reference(torch, …)      a module of torch's own layers that has the names of the scheme "torch"

so that what a library's config means is known to the family alone.
"""

import functools
import importlib
import sys
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.weights.mapping import Scheme, headless


@functools.cache
def families() -> tuple[ModuleType, ...]:
    """The maps of all families in this package."""
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in models.FAMILIES)


def family(model: Any) -> ModuleType:
    """The map of a model's family.

    Raises:
      InputError: No module that defines the model's class, or one of its bases, is or has a map.
    """
    found = _family(type(model))
    if found is None:
        name = type(model).__name__
        raise InputError(
            f"no weights map for {name}, so only checkpoints with its own parameter names can be read; "
            f"for others, the module that defines {name} needs a function schemes(model)"
        )
    return found


def _family(kind: type) -> ModuleType | None:
    for base in kind.__mro__:
        package, _, name = base.__module__.rpartition(".")
        if package == models.__name__ and name in models.FAMILIES:
            return importlib.import_module(f"{__name__}.{name}")
        if callable(getattr(sys.modules.get(base.__module__), "schemes", None)):
            return sys.modules[base.__module__]
    return None


def schemes(model: Any) -> tuple[Scheme, ...]:
    """The naming schemes of a model, the one to write by default first; for a model without a map there are none.

    Where the model ends with an embedding instead of its head, a library's names of the head are ignored.
    """
    if _family(type(model)) is None:
        return ()
    found = tuple(family(model).schemes(model))
    return tuple(map(headless, found)) if getattr(model, "head", None) == "embed" else found


def sizes(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any] | None:
    """Fields of `model`, such as the number of layers, that have to be known before names and shapes can fit at all.

    They are {} for families whose models differ in nothing of the kind, and None where the tensors are not of such a
    family. Errors as for `family`.

    Args:
      model: of the family that the tensors may be of.
      tensors: names → anything with a shape.
    """
    found = _family(type(model))
    return found.sizes(tensors) if found and hasattr(found, "sizes") else {}


def fields(model: Any, scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """Fields of a model that the fit of names and shapes can't show, for weights of a library.

    Args:
      model: A model of the family that the weights are of.
      scheme: The name of their naming scheme.
      called: What they are called elsewhere: timm's architecture, a file's name.
      names: The names of their tensors.

    Returns:
      Field → value, where a value that can't be told is None.
    """
    found = _family(type(model))
    return found.fields(scheme, called, names) if found and hasattr(found, "fields") else {}
