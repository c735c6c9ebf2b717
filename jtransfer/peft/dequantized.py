"""The interceptor of quantised kernels: a module has its kernel for the time of a call, and no gradient keeps it."""

import contextlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.core import Scope

from jtransfer.peft import quantization
from jtransfer.peft.quantization import COLLECTION

_METHODS = ("__call__", "attend", "setup")


def enter(quantized: Mapping[str, Any]) -> contextlib.AbstractContextManager:
    """Returns the context in which a model that is applied to variables with the collection "quantized" has all of its
    kernels.

    A module runs within `jax.checkpoint`, with its kernel as a parameter beside its others: what is kept for the
    gradient is what is stored, and the kernel is made again from it. Adapters of the module see the kernel.
    (XLA for CPUs drops the barrier between both decodings, takes them for one, and so keeps the kernel.)

    Args:
      quantized: the collection. Each module takes its own part from its variables.
    """
    del quantized

    def interceptor(call, args, kwargs, context):
        module = context.module
        if context.method_name not in _METHODS or module.scope is None:
            return call(*args, **kwargs)
        own = module.scope.variables()
        stored = {name: node for name, node in own.get(COLLECTION, {}).items() if quantization.is_entry(node)}
        if not stored:
            return call(*args, **kwargs)
        variables = {name: tree for name, tree in own.items() if name != COLLECTION}
        return _run(module, context.method_name, stored, variables, args, kwargs)

    return nn.intercept_methods(interceptor)


def _run(
    module: nn.Module, method: str, stored: dict[str, Any], variables: dict[str, Any], args: tuple, kwargs: dict
) -> Any:
    """What a copy of the module returns that has its kernels; the module itself is not even set up."""
    assert module.scope is not None
    if method == "setup":
        return None
    if isinstance(module, nn.Embed) and method == "__call__" and not variables:
        rows = quantization.decode_rows(stored["embedding"], *args, **kwargs)
        return rows.astype(module.dtype or module.param_dtype)
    keys, path = {name: module.scope.make_rng(name) for name in module.scope.rngs}, module.scope.path

    @jax.checkpoint
    def run(stored):
        kernels = {name: quantization.decode(name, entry) for name, entry in stored.items()}
        whole = {**variables, "params": {**variables.get("params", {}), **kernels}}
        scope = Scope(whole, keys, module.name, path=path)
        return getattr(module.clone(parent=scope), method)(*args, **kwargs)

    return run(stored)
