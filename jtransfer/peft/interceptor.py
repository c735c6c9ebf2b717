"""The one interceptor: a module that has adapters among the variables runs with them."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jtransfer.peft import scopes, slots

COLLECTION = "adapters"


def enter(adapters: Mapping[str, Any]) -> contextlib.AbstractContextManager:
    """Returns the context in which a model that is applied to variables with the collection "adapters" is adapted.

    Each module takes its own adapters from its variables, so that they pass through `jax.checkpoint` and through
    `nn.scan` with `variable_axes={"params": 0, "adapters": 0}` as parameters do.

    Args:
      adapters: the collection; which adapters there are is read from its paths.
    """
    found: dict[str, list[str]] = {}
    for path, slot, _ in sorted(slots.split(adapters), key=lambda adapter: adapter[1]):
        found.setdefault(path, []).append(slot)

    def interceptor(call, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__" and module.scope is not None:
            for slot in found.get("/".join(module.path), ()):
                if module.has_variable(COLLECTION, slot) and scopes.holds(module):
                    own = module.get_variable(COLLECTION, slot)
                    call = functools.partial(slots.method_of(slot).apply, module, own, call)
        return call(*args, **kwargs)

    return nn.intercept_methods(interceptor)
