"""Frozen modules run as in evaluation: batch norm keeps its statistics and dropout is off, whatever the model is."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager

import flax.linen as nn

from jtransfer.core import tree as trees

_SWITCH = {nn.BatchNorm: "use_running_average", nn.Dropout: "deterministic"}


def frozen_modules(trainable: trees.Tree) -> Callable[[tuple[str, ...]], bool]:
    """Tells which modules of a model are frozen, given which parameters are trained.

    A module is frozen if no parameter is trained in the smallest module around it that has parameters. So a batch norm
    is frozen if its own parameters are, and a dropout if those of the module around it are.

    Args:
      trainable: A nested dict of bools with the structure of the parameters (without the collection "params").

    Returns:
      A function from a module's path, such as `("stage1", "block0", "bn1")`, to whether it is frozen.
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
    """A context in which frozen modules run as in evaluation, even where the model is called with `train=True`.

        with freeze(frozen_modules(trainable)):
            y, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])

    A module whose `__call__` has an argument `is_frozen` is given the function for the paths below its own, and sees
    to its parts itself.

    Args:
      is_frozen: A function from a module's path to whether it is frozen, as `frozen_modules` gives it.
    """

    def interceptor(call, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__" and "is_frozen" in inspect.signature(type(module).__call__).parameters:
            return call(*args, is_frozen=lambda path: is_frozen((*module.path, *path)), **kwargs)
        switch = next((name for kind, name in _SWITCH.items() if isinstance(module, kind)), None)
        if switch is None or context.method_name != "__call__" or not is_frozen(module.path):
            return call(*args, **kwargs)
        if getattr(module, switch) is None:
            return call(*args[:1], *args[2:], **{**kwargs, switch: True})
        before = getattr(module, switch)
        object.__setattr__(module, switch, True)
        try:
            return call(*args, **kwargs)
        finally:
            object.__setattr__(module, switch, before)

    return nn.intercept_methods(interceptor)
