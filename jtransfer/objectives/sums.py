"""Means as sums and weights, which add up over the parts of a batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jtransfer.layers.types import Array


class Mean(NamedTuple):
    """The mean `total / weight`, and 0 where the weight is 0.

    Totals and weights of the parts of a batch add up to those of the batch. No gradient is taken of the weight.

    Attributes:
      total: A weighted sum, float32 [].
      weight: The sum of the weights, a number [].
    """

    total: Array
    weight: Array

    @property
    def value(self) -> Array:
        """The mean, float32 []."""
        weight = jax.lax.stop_gradient(self.weight)
        return self.total / jnp.where(weight > 0, weight, 1)


def is_mean(x: Any) -> bool:
    """Returns whether something is a `Mean`; a leaf of trees of numbers and means."""
    return isinstance(x, Mean)


def add_up(tree: Any) -> bool:
    """Returns whether all leaves of a tree of numbers and means are means."""
    return all(map(is_mean, jax.tree.leaves(tree, is_leaf=is_mean)))


def values(tree: Any) -> Any:
    """Returns a tree of numbers and means with the value of each mean in its place."""
    return jax.tree.map(lambda x: x.value if is_mean(x) else x, tree, is_leaf=is_mean)


def weights(tree: Any) -> Any:
    """Returns the weights of a tree of means."""
    return jax.tree.map(lambda mean: mean.weight, tree, is_leaf=is_mean)


def with_weights(tree: Any, weights: Any) -> Any:
    """Returns a tree of means with other weights, a tree as `weights` gives it."""
    return jax.tree.map(lambda mean, weight: Mean(mean.total, weight), tree, weights, is_leaf=is_mean)
