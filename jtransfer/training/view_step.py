"""A step of evaluation that may average over several views of each example, and gives features beside predictions."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.models import forward
from jtransfer.training.streams import Preprocess


def make_view_step(
    model: nn.Module,
    *,
    preprocess: Preprocess,
    keep: Callable[..., dict[str, jax.Array]],
    average: Callable[..., Any] | None = None,
    stage: str = "",
    pool: Callable[[Any, str], jax.Array] | None = None,
) -> Callable[[dict, dict[str, Any]], dict[str, Any]]:
    """Returns a step `(variables, batch) -> {name: [B, …]}`.

    Args:
      model: The Linen module.
      preprocess: A function from the `inputs` of a batch, or from those of one view, to the model's input.
      keep: A function from the model's outputs and the labels to what is returned, such as `Task.keep`.
      average: A function from the outputs of V views [V, B, …] to their average, for batches whose inputs are
        [B, V, …]; None where each example has one view.
      stage: The stage, or submodule, whose output is returned as "features" [B, d], of several views their mean; "" for
        none.
      pool: A function from what the stage returns, and its name, to vectors [B, d].
    """

    def look(variables: dict, inputs: Any) -> tuple[Any, Any]:
        x = preprocess(inputs)
        if not stage:
            return forward.apply(model, variables, x)[0], ()
        assert pool is not None
        found, _ = forward.apply(model, variables, x, outputs=(stage, forward.OUTPUT))
        return found[forward.OUTPUT], pool(found[stage], stage)

    def step(variables: dict, batch: dict[str, Any]) -> dict[str, Any]:
        if average is None:
            outputs, features = look(variables, batch["inputs"])
        else:
            views = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), batch["inputs"])
            outputs, features = jax.lax.map(lambda view: look(variables, view), views)
            outputs, features = average(outputs), jax.tree.map(lambda leaf: leaf.mean(0), features)
        return keep(outputs, batch["label"]) | ({"features": features} if stage else {})

    return step
