"""A batch in which each example has an adapter of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward


def stack(adapters: Sequence[trees.Tree]) -> dict[str, Any]:
    """Returns adapters of the same shapes as one tree of arrays [K, …].

    Args:
      adapters: K collections of the same modules and methods; `pad` gives them the same rank.

    Raises:
      InputError: they differ in more than their numbers.
    """
    first = {path: leaf.shape for path, leaf in trees.flatten(adapters[0]).items()}
    for tree in adapters[1:]:
        other = {path: leaf.shape for path, leaf in trees.flatten(tree).items()}
        if odd := sorted(path for path in first | other if first.get(path) != other.get(path)):
            shapes = f"{first.get(odd[0])} and {other.get(odd[0])}"
            raise InputError(f"adapters that differ in {odd[0]}, {shapes}, can't be stacked; pad them to one rank")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(dict, adapters))


def per_example(
    model: nn.Module, variables: Mapping[str, Any], adapters: trees.Tree, which: jax.Array, x: Any, **how: Any
) -> Any:
    """Returns what a model returns for a batch of which each example has one of several adapters.

    What is not adapted is computed for the whole batch at once, as without adapters.

    Args:
      model: of which each example's output depends on that example alone, as in evaluation.
      variables: of the model, without adapters.
      adapters: K of them, as `stack` gives.
      which: int [B], the number of each example's adapter.
      x: a batch, a pytree of [B, …].
      **how: further arguments of `models.forward.apply`.
    """
    base = {name: tree for name, tree in variables.items() if name != "adapters"}

    def one(number: jax.Array, x: Any) -> Any:
        own = jax.tree.map(lambda leaf: leaf[number], dict(adapters))
        y, _ = forward.apply(model, {**base, "adapters": own}, jax.tree.map(lambda leaf: leaf[None], x), **how)
        return jax.tree.map(lambda leaf: leaf[0], y)

    return jax.vmap(one)(which, x)
