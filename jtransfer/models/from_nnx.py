"""Modules of Flax NNX as Linen modules, so that rules, steps and runs take them as any other."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import nnx
from flax.core import FrozenDict
from flax.nnx import bridge


class FromNNX(bridge.ToLinen):
    """A Linen module that runs a module of NNX; `from_nnx` makes it.

    Its parameters have the paths that they have in `nnx.to_pure_dict`, such as "blocks/0/dense/kernel". Keys that are
    numbers may be texts as well, as a checkpoint has them.

    Attributes:
      nnx_class: The class of the module, or a function that makes it.
      args: Its arguments.
      kwargs: Its arguments by name.
      metadata_fn: None; what is kept of a variable is its array.
    """

    nnx_class: Callable[..., nnx.Module]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = FrozenDict()
    metadata_fn: Callable[[Any], Any] | None = None

    @property
    def variables(self) -> Mapping[str, Any]:
        return {name: _numbered(tree) for name, tree in super().variables.items()}

    def __call__(self, *inputs: Any, train: bool = False, is_frozen: Callable | None = None) -> Any:
        """Returns what the module returns.

        Args:
          *inputs: What it is called with.
          train: Whether it is told that this is training (`nnx.Module.train`), or that it is not.
          is_frozen: A function from a path to whether the module there is told that this is none, all the same.
        """
        return super().__call__(*inputs, nnx_method=functools.partial(_called, train=train, is_frozen=is_frozen))


def from_nnx(make: Callable[..., nnx.Module], *args: Any, **kwargs: Any) -> FromNNX:
    """Returns a module of Flax NNX as a Linen module.

    Args:
      make: The class of the module, or a function that makes it, which is called as `make(*args, rngs=…, **kwargs)`.
      *args: Its arguments.
      **kwargs: Its arguments by name, but for `rngs`.
    """
    return FromNNX(make, args=args, kwargs=kwargs)


def _called(module: nnx.Module, *inputs: Any, train: bool, is_frozen: Callable | None) -> Any:
    module.train() if train else module.eval()
    if train and is_frozen is not None:
        for path, part in nnx.iter_modules(module):
            if is_frozen(tuple(map(str, path))):
                part.set_attributes(
                    _is_itself(part), deterministic=True, use_running_average=True, raise_if_not_found=False
                )
    run: Any = module
    return run(*inputs)


def _is_itself(part: nnx.Module) -> Callable[[Any, Any], bool]:
    return lambda path, module: module is part


def _numbered(tree: Any) -> Any:
    """Returns a nested dict in which keys of digits are numbers."""
    if not isinstance(tree, Mapping):
        return tree
    return {int(key) if str(key).isdecimal() else key: _numbered(leaf) for key, leaf in tree.items()}
