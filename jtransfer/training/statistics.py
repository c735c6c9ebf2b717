"""The statistics of a model's batch norms over a data set, in place of those that training left: AdaBN."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.layers.batch_statistics import number, observing, pooled
from jtransfer.models import forward

STATISTICS = "batch_stats"
Counted = tuple[jax.Array, Any]  # a number of examples, and their statistics


def make_step(model: nn.Module, preprocess: Callable[[Any], Any]) -> Callable[[Counted, Any, Any], Counted]:
    """Returns a pure step `(counted, variables, batch) -> counted` that adds a batch to what was counted before.

    Args:
      model: The Linen module.
      preprocess: The function from a batch's `inputs` to the model's input.
    """

    def step(counted: Counted, variables: Mapping[str, Any], batch: Mapping[str, Any]) -> Counted:
        (n, before), m = counted, number(batch["mask"])
        with observing(batch["mask"]):
            _, changed = forward.apply(model, variables, preprocess(batch["inputs"]), mutable=[STATISTICS])
        return n + m, pooled(before, n, changed[STATISTICS], m)

    return step


def estimate(step: Callable[..., Counted], variables: Mapping[str, Any], batches: Iterable[Mapping[str, Any]]) -> Any:
    """Returns the collection "batch_stats" over all examples (adaptive batch normalization, Li et al. 2016,
    arXiv:1603.04779).

    Each batch passes through the model once, without dropout, and each batch norm normalises it by the batch's own
    statistics; those of all batches are pooled: the mean of all, and the variance about it. Of the first batch norm
    they are exactly those of the data set, and of all where one batch holds it.

    Args:
      step: From `make_step`, perhaps jitted.
      variables: The collections of the model's variables.
      batches: Dicts with `inputs` and `mask`.
    """
    counted = jnp.zeros((), jnp.float32), variables[STATISTICS]
    for batch in batches:
        counted = step(counted, variables, batch)
    return counted[1]
