"""Frozen modules stand still: batch norm keeps its statistics and dropout is off, without a change to the model."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import flax.linen as nn

from jtransfer.core import tree as trees

_SWITCH = {nn.BatchNorm: "use_running_average", nn.Dropout: "deterministic"}


def frozen_modules(trainable: trees.Tree) -> Callable[[tuple[str, ...]], bool]:
    """A predicate over module paths: does the module at this path stand still?

    A module stands still if every parameter of the smallest scope around it that owns parameters is frozen.

    Args:
      trainable: nested dict of bools over parameter paths (without the collection).
    """
    frozen: dict[tuple[str, ...], bool] = {(): True}
    for path, moves in trees.flatten(trainable).items():
        keys = tuple(path.split("/"))
        for depth in range(len(keys)):
            frozen[keys[:depth]] = frozen.get(keys[:depth], True) and not moves

    def is_frozen(path: tuple[str, ...]) -> bool:
        while path not in frozen:
            path = path[:-1]
        return frozen[path]

    return is_frozen


def freeze(is_frozen: Callable[[tuple[str, ...]], bool]) -> AbstractContextManager:
    """Within this context, modules for which `is_frozen(path)` holds run as in evaluation, also under `train=True`."""

    def interceptor(call, args, kwargs, context):
        module = context.module
        switch = next((name for kind, name in _SWITCH.items() if isinstance(module, kind)), None)
        if switch is None or context.method_name != "__call__" or not is_frozen(module.path):
            return call(*args, **kwargs)
        if getattr(module, switch) is None:
            return call(args[0], *args[2:], **{**kwargs, switch: True})
        before = getattr(module, switch)
        object.__setattr__(module, switch, True)
        try:
            return call(*args, **kwargs)
        finally:
            object.__setattr__(module, switch, before)

    return nn.intercept_methods(interceptor)
