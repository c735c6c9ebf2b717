"""Which module the adapters at a path belong to, and what scans over layers add to it."""

from collections.abc import Iterator, Mapping

import flax.linen as nn

from jtransfer import layers
from jtransfer.core import tree as trees

LINEAR = (nn.Dense, nn.DenseGeneral, nn.Einsum, nn.Conv, nn.ConvTranspose, layers.Conv, nn.Embed)


def holds(module: nn.Module) -> bool:
    """Returns whether the adapters at a module's path are its own, and not those of one that shares its scope.

    Of modules that share a scope (`nn.share_scope`), it is the layer that has the kernel; or else the outermost.

    Args:
      module: a bound module.
    """
    if isinstance(module, LINEAR):
        return True
    parent = module.parent
    shares = isinstance(parent, nn.Module) and parent.scope is not None and parent.path == module.path
    return not shares and not any(isinstance(inner, LINEAR) for inner in _sharing(module))


def _sharing(module: nn.Module) -> Iterator[nn.Module]:
    for inner in vars(module).values():
        if isinstance(inner, nn.Module) and inner.scope is module.scope:
            yield inner
            yield from _sharing(inner)


def stacks(params: trees.Tree, inside: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Returns the leading axes that scans over layers add to the parameters of modules, by the paths of the modules.

    Args:
      params: of the model.
      inside: the number of axes of each parameter, as its module sees it.
    """
    shapes = ((path, leaf.shape) for path, leaf in trees.flatten(params).items() if path in inside)
    return {path.rpartition("/")[0]: tuple(shape[: len(shape) - inside[path]]) for path, shape in shapes}


def nearest(known: Mapping[str, tuple[int, ...]], path: str) -> tuple[int, ...]:
    """Returns the axes of a module; of one without parameters, those that all parameters inside of it have, or those of
    the module around it."""
    if path in known:
        return known[path]
    below = [stack for name, stack in known.items() if name.startswith(f"{path}/")]
    if below:
        return min(below, key=len)
    return nearest(known, path.rpartition("/")[0]) if path else ()
