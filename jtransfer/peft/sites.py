"""Which modules of a model can be adapted: found by tracing the model, whatever it is made of."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from jtransfer import layers
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.models.paths import HEAD
from jtransfer.peft import layer, scopes
from jtransfer.peft.method import Site

_LINEAR = {  # class → (kind, name of the kernel)
    nn.Dense: ("dense", "kernel"),
    nn.DenseGeneral: ("dense", "kernel"),
    nn.Einsum: ("dense", "kernel"),
    nn.Conv: ("conv", "kernel"),
    nn.ConvTranspose: ("conv", "kernel"),
    layers.Conv: ("conv", "kernel"),
    nn.Embed: ("embed", "embedding"),
}
COLLECTION = "adapters"
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.BatchNorm, nn.GroupNorm, nn.InstanceNorm, layers.LayerNorm, layers.BatchNorm)


def find(model: nn.Module, variables: Mapping[str, Any], x: Any) -> dict[str, Site]:
    """Returns the modules that a model calls, by path, in the order of the calls. Nothing is computed.

    Args:
      model: any Linen module that `models.forward.apply` runs.
      variables: of the model, or their shapes.
      x: an input, or its shapes.
    """
    found: dict[str, Site] = {}
    others: set[str] = set()  # modules of which another method than __call__ was called
    inside: dict[str, int] = {}  # the number of axes of parameters, as a module sees them

    def record(call, args, kwargs, context):
        y, module = call(*args, **kwargs), context.module
        if module.scope is None:
            return y
        path = "/".join(module.path)
        inside.update({f"{path}/{name}".lstrip("/"): leaf.ndim for name, leaf in _own(module)})
        if context.method_name == "__call__" and path and (args or kwargs) and scopes.holds(module):
            site = _site(path, module, [*args, *kwargs.values()], y)
            found.setdefault(path, site._replace(reached=_reached(module, variables.get("params", {}))))
        elif context.method_name == "attend":
            others.add(path)
        return y

    with nn.intercept_methods(record):
        empty = {**variables, COLLECTION: _without_leaves(variables.get("params", {}))}
        jax.eval_shape(lambda variables, x: forward.apply(model, variables, x)[0], empty, x)
    stacks = scopes.stacks(variables.get("params", {}), inside)
    children = {path: tuple(s for p, s in found.items() if p.rpartition("/")[0] == path) for path in found}
    given, head = [_shape(leaf) for leaf in jax.tree.leaves(x)], _head(model, found)
    return {
        path: site._replace(
            tied=path in others,
            stack=scopes.nearest(stacks, path),
            children=children[path],
            is_first=site.x in given,
            is_head=bool(head) and f"{path}/".startswith(f"{head}/"),
        )
        for path, site in found.items()
    }


def _head(model: nn.Module, found: Mapping[str, Site]) -> str:
    """The path of the head; "" where there is none."""
    if stages := forward.stages(model):
        return stages[-1]
    return HEAD if HEAD in found else next((path for path, site in reversed(list(found.items())) if site.leaf), "")


def _own(module: nn.Module) -> Iterator[tuple[str, Any]]:
    params = module.variables.get("params", {})
    return ((name, leaf) for name, leaf in params.items() if not isinstance(leaf, Mapping))


def _without_leaves(tree: Any) -> dict[str, Any]:
    return {name: _without_leaves(node) for name, node in tree.items() if isinstance(node, Mapping)}


def _reached(module: nn.Module, params: Any) -> bool:
    """Whether adapters of a module reach it: the collection does, or there is one for all that runs the module."""
    inside = module.variables.get("params", {})
    for key in module.path:
        params = params.get(key, {})
    return COLLECTION in module.variables or jax.tree.map(_shape, params) == jax.tree.map(_shape, inside)


def _site(path: str, module: nn.Module, given: list[Any], y: Any) -> Site:
    kind, leaf, unfit = _kind(module, given)
    shape = tuple(module.get_variable("params", leaf).shape) if leaf else ()
    return Site(
        path=path,
        kind=kind,
        name=type(module).__name__,
        leaf=leaf,
        shape=shape,
        contracted=layer.contracted(module, len(shape), given[1:]) if leaf else 0,
        groups=layer.groups(module) if kind == "conv" else 1,
        bias=module.has_variable("params", "bias"),
        x=jax.tree.map(_shape, given[0]),
        y=jax.tree.map(_shape, y),
        fields=_fields(module),
        unfit=unfit,
        norm=_is_norm(module),
    )


def _fields(module: nn.Module) -> dict[str, Any]:
    named = {field.name: getattr(module, field.name, None) for field in dataclasses.fields(module)}
    return {k: v for k, v in named.items() if k not in ("parent", "name") and not isinstance(v, nn.Module)}


def _is_norm(module: nn.Module) -> bool:
    axis: Any = getattr(module, "axis", getattr(module, "feature_axes", -1))
    return type(module) in _NORMS and axis in (-1, (-1,)) and module.has_variable("params", "scale")


def _shape(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf


def _kind(module: nn.Module, given: list[Any]) -> tuple[str, str, str]:
    """(kind, name of the kernel, why its kernel can't be adapted) by the module's class."""
    base = next((known for known in _LINEAR if isinstance(module, known)), None)
    if base is None:
        return "module", "", ""
    kind, leaf = _LINEAR[base]
    unfit = _unfit(module, base, leaf, given)
    return ("module", "", unfit) if unfit else (kind, leaf, "")


def _unfit(module: nn.Module, base: type, leaf: str, given: list[Any]) -> str:
    kind = type(module)
    if any(getattr(kind, name) is not getattr(base, name) for name in ("__call__", "param")):
        return f"{kind.__name__} computes something else than nn.{base.__name__}, which may not be linear in its kernel"
    if not module.has_variable("params", leaf):
        return f"its {leaf} is not among the parameters"
    if getattr(module, "batch_dims", ()) not in ((), []):
        return "with batch_dims, its kernel is not one matrix"
    if getattr(module, "transpose_kernel", False):
        return "with transpose_kernel=True, the axes of its output are not the last ones of its kernel"
    if isinstance(module, nn.Einsum):
        try:
            layer.contracted(module, 0, given[1:])
        except InputError as error:
            return str(error)
    return ""
