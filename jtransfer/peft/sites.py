"""Which modules of a model can be adapted: found by tracing the model once, whatever it is made of."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jtransfer import layers
from jtransfer.models import forward
from jtransfer.models.paths import HEAD
from jtransfer.peft.method import Site

_CONVOLUTIONS = (nn.Conv, nn.ConvTranspose, layers.Conv)


def find(model: nn.Module, variables: Mapping[str, Any], x: Any) -> dict[str, Site]:
    """Returns the modules that a model calls, by path, in the order of the calls. Nothing is computed.

    Args:
      model: any Linen module that `models.forward.apply` runs.
      variables: of the model, or their shapes.
      x: an input, or its shapes.
    """
    found: dict[str, Site] = {}
    others: set[str] = set()  # modules of which another method than __call__ was called

    def record(call, args, kwargs, context):
        y, module = call(*args, **kwargs), context.module
        if module.scope is None:
            return y
        path = "/".join(module.path)
        if context.method_name == "__call__" and path and (args or kwargs):
            given = args[0] if args else next(iter(kwargs.values()))
            found.setdefault(path, _site(path, module, given, y))
        elif context.method_name == "attend":
            others.add(path)
        return y

    with nn.intercept_methods(record):
        jax.eval_shape(lambda variables, x: forward.apply(model, variables, x)[0], dict(variables), x)
    given, head = [_shape(leaf) for leaf in jax.tree.leaves(x)], _head(model, found)
    return {
        path: site._replace(
            tied=path in others, is_first=site.x in given, is_head=f"{path}/".startswith(f"{head}/") and bool(head)
        )
        for path, site in found.items()
    }


def _head(model: nn.Module, found: Mapping[str, Site]) -> str:
    """The path of the head; "" where there is none."""
    if stages := forward.stages(model):
        return stages[-1]
    return HEAD if HEAD in found else next((path for path, site in reversed(list(found.items())) if site.leaf), "")


def _site(path: str, module: nn.Module, x: Any, y: Any) -> Site:
    kind, leaf, groups = _kind(module)
    kernel = module.get_variable("params", leaf) if leaf and module.has_variable("params", leaf) else None
    if kernel is None:
        kind, leaf, groups = "module", "", 1
    shape = () if kernel is None else tuple(kernel.shape)
    return Site(
        path=path,
        kind=kind,
        name=type(module).__name__,
        leaf=leaf,
        shape=shape,
        contracted=_contracted(module, len(shape)),
        groups=groups,
        bias=module.has_variable("params", "bias"),
        x=jax.tree.map(_shape, x),
        y=jax.tree.map(_shape, y),
    )


def _shape(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf


def _kind(module: nn.Module) -> tuple[str, str, int]:
    """(kind, name of the kernel, groups) by the module's class."""
    if isinstance(module, nn.Dense) or (isinstance(module, nn.DenseGeneral) and not module.batch_dims):
        return "dense", "kernel", 1
    if isinstance(module, nn.Embed):
        return "embed", "embedding", 1
    if isinstance(module, _CONVOLUTIONS) and not getattr(module, "transpose_kernel", False):
        return "conv", "kernel", getattr(module, "groups", getattr(module, "feature_group_count", 1))
    return "module", "", 1


def _contracted(module: nn.Module, axes: int) -> int:
    if isinstance(module, nn.DenseGeneral):
        return len(module.axis) if isinstance(module.axis, tuple | list) else 1
    return axes - 1 if isinstance(module, _CONVOLUTIONS) else min(axes, 1)
