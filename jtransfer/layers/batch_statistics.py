"""Statistics of batch norms, taken anew of any examples, whatever the model is."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array


def observing(mask: Bool[Array, " B"]) -> AbstractContextManager:
    """Returns a context in which each batch norm normalises by, and stores, the statistics of its input alone.

    Args:
      mask: False where an example is padding, which counts for no statistics.
    """

    def interceptor(call, args, kwargs, context):
        module = context.module
        if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        x, *rest = args
        if len(x) != len(mask):
            raise InputError(
                f"the batch norm {'/'.join(module.path)} sees {len(x)} rows of {len(mask)} examples, so that its "
                "statistics can't be told; leave `statistics` of the phase empty"
            )
        told: dict[str, Any] = {"mask": mask.reshape(-1, *(1,) * (x.ndim - 1))}
        kept = {name: value for name, value in kwargs.items() if name not in ("use_running_average", "mask")}
        fixed: dict[str, Any] = {"momentum": 0.0, "use_fast_variance": False}
        if module.use_running_average is None:
            told["use_running_average"] = False
        else:
            fixed["use_running_average"] = False
        with _set(module, fixed):
            return call(x, *rest[1:], **kept, **told)

    return nn.intercept_methods(interceptor)


@contextmanager
def _set(module: nn.Module, values: Mapping[str, Any]) -> Iterator[None]:
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        object.__setattr__(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(module, name, value)


def pooled(first: trees.Tree, n: Array, second: trees.Tree, m: Array) -> dict[str, Any]:
    """Returns the means and variances of two sets of examples together.

    Args:
      first: The collection "batch_stats" of n examples; leaves that are neither "mean" nor "var" stay as they are.
      n: Their number, float32 [].
      second: That of m examples.
      m: Their number.
    """
    a, b, share = trees.flatten(first), trees.flatten(second), m / jnp.maximum(n + m, 1)
    found = dict(a)
    for path in a:
        module, _, leaf = path.rpartition("/")
        mean, var = (f"{module}/{name}".lstrip("/") for name in ("mean", "var"))
        if leaf in ("mean", "var") and mean in a and var in a:
            apart = b[mean] - a[mean]
            found[mean] = a[mean] + share * apart
            found[var] = (1 - share) * a[var] + share * b[var] + share * (1 - share) * jnp.square(apart)
    return trees.unflatten(found)


def number(mask: Bool[Array, " B"]) -> jax.Array:
    """Returns the number of real examples, float32 []."""
    return mask.sum(dtype=jnp.float32)
