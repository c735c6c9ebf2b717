"""A discriminator of domains: a network, its loss, and how often it is right."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.types import Array
from jtransfer.objectives import adversarial
from jtransfer.objectives.losses import mean_of
from jtransfer.objectives.sums import Mean


class Scorer(nn.Module):
    """A multilayer perceptron.

    Attributes:
      widths: of the hidden layers.
      outputs: the number of outputs.
    """

    widths: tuple[int, ...]
    outputs: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B d"]) -> Float[Array, "B k"]:
        for i, width in enumerate(self.widths):
            x = nn.relu(nn.Dense(width, name=f"hidden{i + 1}")(x))
        return nn.Dense(self.outputs, name="out")(x)


def run(network: nn.Module, params: Any, x: Array) -> Any:
    """Returns a network's outputs."""
    return network.apply({"params": params}, x)


def score(network: nn.Module, params: Any, x: Array) -> Array:
    """Returns the one output of a network for each example, [B]."""
    return run(network, params, x)[:, 0]


def begin(network: nn.Module, key: jax.Array, width: int) -> Any:
    """Returns the parameters that a network begins with, for inputs of this width."""
    return network.init(key, jnp.zeros((1, width)))["params"]


def width(shape: Any) -> int:
    """Returns the length of the vectors that a stage's outputs are flattened to."""
    return math.prod(shape.shape[1:])


def told_apart(scores: Sequence[Array], masks: Sequence[Array], weights: Sequence[Array] | None, name: str):
    """Returns the mean over both domains of the discriminator's loss, and the share of examples that it tells right.

    Args:
      scores: of the source's and of the target's examples; above 0 is the source's.
      masks: of both.
      weights: of the examples of both; None counts all alike.
      name: of the term, in the name of the metric.
    """
    right: list[Mean] = []
    parts: list[Mean] = []
    for i, (score, mask) in enumerate(zip(scores, masks, strict=True)):
        losses, weight = adversarial.from_source(score, i == 0), None if weights is None else weights[i]
        found = mean_of(losses if weight is None else losses * weight, mask, weight)
        parts.append(Mean(0.5 * found.total, found.weight))
        right.append(mean_of(((score > 0) == (i == 0)).astype(jnp.float32), mask))
    told = Mean(right[0].total + right[1].total, right[0].weight + right[1].weight)
    return parts, {f"{name}/told_apart": told}
