"""The tables of every family. A family is one file and one entry in `FAMILIES`. The file has

    MODEL                    the class of its models
    schemes(model)           its naming schemes, the one to write by default first; one of a library's is called after
                             it, and of several, the first is written

and, as far as there is something to say,

    sizes(tensors)           see the function `sizes`
    fields(scheme, …)        see the function `fields`
    STATED                   transformers' model_type → (config.json → fields of the model, what that must state)
    transformers(model)      the other way: config.json with `architectures` and `model_type`; raises InputError where
                             transformers has no such model
    CONFIGS                  a file of the family's own → a function from its content to such a config.json
    TIMM                     timm's argument → field of the model, or a function of all arguments to such fields
    timm(name, model)        the other way: timm's architecture and arguments; raises InputError as above
    torchvision(name, model) the same of torchvision, where it has another name for the model
    open_clip(name, model)   the same of OpenCLIP
    reference(torch, …)      a module of torch's own layers that has the names of the scheme "torch"

so that what a library's config means is known to the family alone.
"""

from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights.mapping import Scheme
from jtransfer.weights.maps import (
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
    mobilenet_v2,
    mobilenet_v3,
    recurrent,
    resnet,
    roberta,
    swin,
    t5,
    vgg,
    vit,
)

FAMILIES = (
    resnet,
    vgg,
    efficientnet,
    convnext,
    mobilenet_v2,
    mobilenet_v3,
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


def family(model: Any) -> ModuleType:
    """The file of `model`'s family.

    Raises:
      InputError: no table for this class of model.
    """
    for found in FAMILIES:
        if isinstance(model, found.MODEL):
            return found
    known = ", ".join(found.MODEL.__name__ for found in FAMILIES)
    raise InputError(f"no weights map for {type(model).__name__}; there are maps for {known}")


def schemes(model: Any) -> tuple[Scheme, ...]:
    """The naming schemes of `model`, the one to write by default first. Errors as for `family`."""
    return family(model).schemes(model)


def sizes(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any] | None:
    """Fields of `model`, such as the number of layers, that have to be known before names and shapes can fit at all.

    They are {} for families whose models differ in nothing of the kind, and None where the tensors are not of such a
    family. Errors as for `family`.

    Args:
      model: of the family that the tensors may be of.
      tensors: names → anything with a shape.
    """
    found = family(model)
    return found.sizes(tensors) if hasattr(found, "sizes") else {}


def fields(model: Any, scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """Fields of `model` that the fit of names and shapes can't show, for weights of a library.

    One that can't be told is None.

    Args:
      model: of the family that the weights are of.
      scheme: the name of their naming scheme.
      called: what they are called elsewhere: timm's architecture, a file's name.
      names: of their tensors.
    """
    found = family(model)
    return found.fields(scheme, called, names) if hasattr(found, "fields") else {}
