"""Noise in training that a model need not know of: on its weights, its batch norms, its embeddings.

A noise is `(variables, key) -> (variables, context)`: the variables that a pass of training runs with, and a context to
run it in. It is one file with `make(site, **fields)`, and one entry here; a user's is an address.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jtransfer.core.errors import InputError, unknown
from jtransfer.core.registry import Registry
from jtransfer.models import forward

Noise = Callable[[Mapping[str, Any], jax.Array], tuple[Mapping[str, Any], contextlib.AbstractContextManager]]

NOISES = Registry(
    "noise",
    {
        "mixout": "jtransfer.training.noise.mixout:make",
        "neftune": "jtransfer.training.noise.neftune:make",
        "stochnorm": "jtransfer.training.noise.stochnorm:make",
    },
)
"""Name → `make(place, **fields) -> Noise`."""


class Place(NamedTuple):
    """Where noise is to be.

    Attributes:
      modules: path → class of every module that the model calls.
      params: the parameters of the model, or their shapes.
      trainable: bools of the same paths, whether a parameter is trained.
      ever: the same, whether it is trained in any phase.
    """

    modules: Mapping[str, type]
    params: Mapping[str, Any]
    trainable: Mapping[str, Any]
    ever: Mapping[str, Any]


def make(
    config: Sequence[Any], model: nn.Module, variables: Mapping[str, Any], x: Any, trainable: Any, ever: Any = None
) -> list[Noise]:
    """Returns the noises that `config.noise` asks for, in order.

    Args:
      config: entries `name` or `(name, fields)`.
      model: the Linen module.
      variables: of the model, or their shapes.
      x: an input, or its shapes.
      trainable: bools over the paths of the parameters.
      ever: the same for all phases together; by default they are `trainable`.

    Raises:
      InputError: no such noise or field, or nothing of the model, or of what is ever trained, is of its kind.
    """
    if not config:
        return []
    place = Place(_modules(model, variables, x), variables["params"], trainable, trainable if ever is None else ever)
    return [_make(entry, place) for entry in config]


def needs_initial(config: Sequence[Any]) -> bool:
    """Returns whether a noise reads the parameters that the run began with, the collection "initial"."""
    return any(getattr(NOISES[_split(entry)[0]], "needs_initial", False) for entry in config)


def _split(entry: Any) -> tuple[str, Mapping[str, Any]]:
    name, *rest = (entry,) if isinstance(entry, str) else tuple(entry)
    fields = rest[0] if rest else {}
    if not isinstance(name, str) or len(rest) > 1 or not isinstance(fields, Mapping):
        raise InputError(f'noise: {entry!r} is neither "name" nor ("name", {{fields}})')
    return name, fields


def _make(entry: Any, place: Place) -> Noise:
    name, fields = _split(entry)
    build = NOISES[name]
    known = list(inspect.signature(build).parameters)[1:]
    for field in fields:
        if field not in known:
            raise unknown(f"field of the noise {name!r}:", field, known)
    return build(place, **fields)


def _modules(model: nn.Module, variables: Mapping[str, Any], x: Any) -> dict[str, type]:
    found: dict[str, type] = {}

    def record(call, args, kwargs, context):
        if context.method_name == "__call__" and context.module.scope is not None:
            found.setdefault("/".join(context.module.path), type(context.module))
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(lambda variables, x: forward.apply(model, variables, x)[0], dict(variables), x)
    return found


def around(
    noises: Sequence[Noise], variables: Mapping[str, Any], key: jax.Array, stack: contextlib.ExitStack
) -> Mapping[str, Any]:
    """Enters the contexts of noises, and returns the variables that the model is to run with."""
    for number, noise in enumerate(noises):
        variables, context = noise(variables, jax.random.fold_in(key, number))
        stack.enter_context(context)
    return variables
