"""The one forward pass: any Linen module, any number of its stages' outputs, and what its variables ask for."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jtransfer.core import registry
from jtransfer.core.errors import InputError
from jtransfer.layers.frozen import freeze

OUTPUT = "head"  # the name of what a model returns
TRAIN = {"train": False, "training": False, "is_training": False, "deterministic": True}  # → off
Interceptor = Callable[[Any], contextlib.AbstractContextManager]

INTERCEPTORS: dict[str, Interceptor | str] = {
    "quantized": "jtransfer.peft.dequantized:enter",
    "adapters": "jtransfer.peft:enter",
}
"""Collection of variables → `enter(variables of the collection)`, or its address; a context in which the model is run.
Adapters are such a collection: what they add to a module's output is told by their variables alone. The first here is
the outermost."""


def stages(model: nn.Module) -> tuple[str, ...]:
    """The names of a model's stages in order; none for a module that is no chain of stages."""
    return tuple(getattr(model, "stages", ()))


def apply(
    model: nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    *,
    train: bool = False,
    start: str | None = None,
    stop: str | None = None,
    outputs: Sequence[str] | None = None,
    is_frozen: Callable[[tuple[str, ...]], bool] | None = None,
    rngs: Mapping[str, jax.Array] | None = None,
    mutable: Collection[str] = (),
) -> tuple[Any, dict]:
    """Runs a model once.

    Args:
      model: a chain of stages, or any Linen module that is called as `model(x)`. If its `__call__` has an argument
        `train`, `training`, `is_training` or `deterministic`, it is told whether this is training.
      variables: the model's variables. Collections in `INTERCEPTORS` are entered for the time of the call.
      x: the input, or what the stage before `start` returned.
      train: batch norm uses the batch's statistics, dropout is on.
      start, stop: the first stage that is run, and the first that is not (chains only).
      outputs: what is returned: names of stages of a chain; of any other module, paths of its submodules, or "head" for
        what it returns itself.
      is_frozen: modules at these paths run as in evaluation, also in training (`layers.frozen`).
      rngs: random streams.
      mutable: collections that the call may change.

    Returns:
      (what the model returns, the changed collections), or with `outputs` a dict of what these stages return.

    Raises:
      InputError: no such stage or submodule; or `start` or `stop` for a module without stages.
    """
    asked, told, read = _call(model, start, stop, outputs, train)
    with contextlib.ExitStack() as stack:
        if is_frozen is not None:
            stack.enter_context(freeze(is_frozen))
        for name in filter(variables.__contains__, INTERCEPTORS):
            enter = INTERCEPTORS[name]
            stack.enter_context((registry.load(enter) if isinstance(enter, str) else enter)(variables[name]))
        changes = list(mutable) + ["intermediates"] * bool(asked)
        returned = model.apply(
            variables,
            x,
            rngs=dict(rngs) if rngs else None,
            capture_intermediates=functools.partial(_is_at, asked) if asked else False,
            mutable=changes or False,
            **told,
        )
    value, changed = returned if changes else (returned, {})
    return read(value, changed.get("intermediates", {})), {k: v for k, v in changed.items() if k != "intermediates"}


def initialize(model: nn.Module, key: jax.Array, x: Any) -> dict:
    """The variables that a model begins with; every random stream draws from `key`. Pure."""
    switch: dict[str, Any] = _switch(type(model), train=False)
    variables = model.init({"params": key, "dropout": key}, x, **switch)
    return {name: tree for name, tree in variables.items() if name != "intermediates"}


def _call(model: nn.Module, start: str | None, stop: str | None, outputs: Sequence[str] | None, train: bool) -> tuple:
    """(submodules to capture, keyword arguments of the call, how to read what it returns)."""
    if stages(model):
        whole = outputs is not None and tuple(outputs) == (OUTPUT,)
        given = {"train": train, "start": start, "stop": stop, "outputs": None if whole else outputs}
        read_chain = (lambda value, _: {OUTPUT: value}) if whole else (lambda value, _: value)
        return (), {k: v for k, v in given.items() if v is not None}, read_chain
    if start is not None or stop is not None:
        raise InputError(f"{type(model).__name__} has no stages to start or stop at")
    asked = tuple(name for name in outputs or () if name != OUTPUT)

    def read(value: Any, intermediates: Mapping) -> Any:
        return value if outputs is None else {name: _captured(name, value, intermediates) for name in outputs}

    return asked, _switch(type(model), train), read


@functools.cache
def _arguments(kind: type) -> tuple[str, ...]:
    return tuple(inspect.signature(kind.__call__).parameters)


def _switch(kind: type, train: bool) -> dict[str, bool]:
    return {name: off ^ train for name, off in TRAIN.items() if name in _arguments(kind)}


def _is_at(paths: Sequence[str], module: nn.Module, method: str) -> bool:
    return method == "__call__" and "/".join(module.path) in paths


def _captured(name: str, value: Any, intermediates: Mapping) -> Any:
    if name == OUTPUT:
        return value
    node: Any = intermediates
    for key in name.split("/"):
        node = node.get(key, {})
    if "__call__" not in node:
        raise InputError(f"{name!r} is no submodule that the model calls, so it has no output to take")
    return node["__call__"][0]
