"""The one interceptor: a module that has adapters among the variables runs with them."""

import contextlib
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jtransfer.peft import scopes, slots
from jtransfer.peft.sites import COLLECTION


def enter(adapters: Mapping[str, Any]) -> contextlib.AbstractContextManager:
    """Returns the context in which a model that is applied to variables with the collection "adapters" is adapted.

    Each module takes its own adapters from its variables, so that they pass through `jax.checkpoint` and through
    `nn.scan` with `variable_axes={"params": 0, "adapters": 0}` as parameters do. Within a transform that does not pass
    the collection on, a module takes those of its path.

    Args:
      adapters: the collection; which adapters there are is read from its paths.
    """
    known: dict[str, dict[str, Any]] = {}
    for path, slot, own in sorted(slots.split(adapters), key=lambda adapter: adapter[1]):
        known.setdefault(path, {})[slot] = own

    running: set[int] = set()  # a module whose __call__ calls that of its base class is adapted once

    def interceptor(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__" or module.scope is None or id(module) in running:
            return call(*args, **kwargs)
        for slot, own in known.get("/".join(module.path), {}).items() if scopes.holds(module) else ():
            own = _passed_on(module, slot, own)
            if own is not None:
                call = functools.partial(slots.method_of(slot).apply, module, own, call)
                args, kwargs = _positional(module, args, kwargs)
        running.add(id(module))
        try:
            return call(*args, **kwargs)
        finally:
            running.discard(id(module))

    return nn.intercept_methods(interceptor)


def _passed_on(module: nn.Module, slot: str, own: Any) -> Any:
    """A module's adapter from its variables; `own`, that of its path, where the collection does not reach it."""
    if module.has_variable(COLLECTION, slot):
        return module.get_variable(COLLECTION, slot)
    return None if COLLECTION in module.variables else own


def _positional(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The arguments of a call with the first one by position."""
    first = next(iter(inspect.signature(module.__call__).parameters))
    if args or first not in kwargs:
        return args, kwargs
    return (kwargs[first],), {name: value for name, value in kwargs.items() if name != first}
