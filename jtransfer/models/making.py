"""Models that are made of other models: how a config describes the parts, and where their stages are in the whole."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.core import FrozenDict

from jtransfer import models
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.tree import as_tuples
from jtransfer.models.chain import Pixels

Description = Mapping[str, Any]  # {"name": a model's name, and any of its fields}


class Part(NamedTuple):
    """One of the models that a model is made of.

    Attributes:
      model: The Linen module of the part alone.
      stages: Stage of the part → the path of the same parameters in the whole model, for each stage that it has.
    """

    model: nn.Module
    stages: Mapping[str, str]


class Border(NamedTuple):
    """What passes at a border of two stages.

    Attributes:
      shape: The shape of the array for a batch of one.
      form: The names of all that passes, where it is a dict; the array is "x" then.
    """

    shape: tuple[int, ...]
    form: tuple[str, ...]


@functools.lru_cache(64)
def output(model: Any, stop: str) -> Border:
    """Returns what a model gives before a stage, which is its input where that is its first.

    Raises:
      InputError: There is no such stage, or it takes several arrays.
    """
    if stop not in model.stages:
        raise unknown("stage", stop, model.stages)

    def run() -> Any:
        x = model.example_input(1)
        return x if stop == model.stages[0] else model.init_with_output(jax.random.key(0), x, stop=stop)[0]

    found = jax.eval_shape(run)
    form = tuple(sorted(found)) if isinstance(found, Mapping) else ()
    array: Any = found.get("x") if isinstance(found, Mapping) else found
    if not hasattr(array, "shape"):
        raise InputError(
            f"{type(model).__name__} takes {', '.join(form) or 'several arrays'} at {stop!r}, which no other model "
            "gives or takes; name another stage"
        )
    return Border(tuple(array.shape), form)


def described(given: Any, what: str) -> FrozenDict:
    """Returns the description of a part, as a field of a Linen module holds it.

    Args:
      given: The name of a model, or a dict of its "name" and of its fields.
      what: What to call the part in an error.

    Raises:
      InputError: It is neither.
    """
    fields = {"name": given} if isinstance(given, str) else given
    if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str) or not fields["name"]:
        raise InputError(f"{what}={given!r:.80}: give the name of a model, or a dict of its 'name' and its fields")
    return FrozenDict({key: frozen(value) for key, value in fields.items()})


def side_by_side(what: str, given: Any, shared: Mapping[str, Any]) -> FrozenDict:
    """Returns the descriptions of models that stand side by side, by their names.

    Args:
      what: The field that has them, for errors.
      given: Name → the name of a model, or a dict of its "name" and its fields.
      shared: Fields that each of the models gets which has them.

    Raises:
      InputError: There are none, or a name is none.
    """
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"{what}: give a dict of models by names of yours, as {{'a': 'resnet18', 'b': 'vit_small'}}")
    found = {}
    for name, one in given.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{what}: {name!r} is no name of letters, digits and '_'")
        own = described(one, f"{what}.{name}")
        known = models.fields_of(str(own["name"]))
        more = {key: frozen(value) for key, value in shared.items() if known is None or key in known}
        found[name] = FrozenDict({**more, **own})
    return FrozenDict(found)


def check_kinds(what: str, model: Any) -> None:
    """Raises an InputError if models that stand side by side take inputs of different kinds."""
    if not model.takes:
        kinds = "; ".join(f"{name} {' or '.join(face.takes)}" for name, face in model.faces.items())
        raise InputError(f"{what}: they take inputs of different kinds: {kinds}")


def plain(value: Any) -> Any:
    """Returns a field, or a description, as plain data, as a config holds it."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return dataclasses.asdict(value) if isinstance(value, Pixels) else value


def create(description: Description, **shared: Any) -> nn.Module:
    """Returns the model of a part.

    Args:
      description: Of the part.
      **shared: Fields of the whole, which the part gets where it has such a field and does not state it itself.

    Raises:
      InputError: There is no such model or field.
    """
    return _created(FrozenDict(description), FrozenDict(shared))


@functools.lru_cache(256)
def _created(description: FrozenDict, shared: FrozenDict) -> nn.Module:
    name, fields = str(description["name"]), {key: plain(value) for key, value in description.items() if key != "name"}
    known = models.fields_of(name)
    more = {key: value for key, value in shared.items() if known is None or key in known}
    return models.create(name, **{**more, **fields})


def frozen(value: Any) -> Any:
    """Returns plain data of a config as a field of a Linen module holds them, which can be hashed."""
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(one) for key, one in value.items()})
    return as_tuples(value)
