"""Gradients of one output of each example, with respect to the input or to what a stage returns."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError, unknown
from jtransfer.models import forward


def gradient_input(
    model: nn.Module, variables: Mapping[str, Any], x: Any, targets: jax.Array, stage: str | None = None
) -> jax.Array:
    """Returns gradient × input: how much each number of an input adds to an output, were the model linear.

    It is `x · ∂y/∂x`, with y the output that is asked about. Of vectors at places, such as the embeddings of tokens, it
    is summed over their features.

    Args:
      model: Any Linen module; with `stage`, a chain of stages.
      variables: The model's variables.
      x: The model's input: float [B, d], or whatever the stage `stage` comes after.
      targets: int32 [B], which output of each example is asked about, such as the predicted class.
      stage: The stage whose output takes the place of the input: one array [B, …, d], alone or as "x" of a dict, as
        texts have it. None is the input itself.

    Returns:
      float32, of the shape of the input; of a stage's output, of its shape without the last axis, [B, …].

    Raises:
      InputError: There is no such stage, or it returns something else than one array of real numbers.

    References:
      Shrikumar et al., Not Just a Black Box: Learning Important Features Through Propagating Activation Differences,
      arXiv:1605.01713, 2016.
    """
    held, slope = slopes(model, variables, x, targets, stage)
    product = held.astype(jnp.float32) * slope
    return product if stage is None else product.sum(-1)


def slopes(
    model: nn.Module, variables: Mapping[str, Any], x: Any, targets: jax.Array, stage: str | None
) -> tuple[jax.Array, jax.Array]:
    """Returns what a stage returns, or the input, and the gradient of the outputs with respect to it, in float32."""
    start, given = None, x
    if stage is not None:
        start = after(model, stage)
        given, _ = forward.apply(model, variables, x, stop=start)
    held, put = _array(given, stage)

    def asked(array: jax.Array) -> jax.Array:
        logits, _ = forward.apply(model, variables, put(array), start=start)
        if getattr(logits, "ndim", 0) != 2:
            raise InputError("attributions are of models that return a vector for each example, [B, C]")
        return jnp.take_along_axis(logits.astype(jnp.float32), jnp.asarray(targets)[:, None], 1).sum()

    return held, jax.grad(asked)(held).astype(jnp.float32)


def after(model: nn.Module, stage: str) -> str:
    """Returns the stage that comes after another one.

    Raises:
      InputError: There is no such stage, or it is the last.
    """
    stages = forward.stages(model)
    if stage not in stages[:-1]:
        raise unknown("stage before the last", stage, stages[:-1])
    return stages[stages.index(stage) + 1]


def _array(given: Any, stage: str | None) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """The array that the gradient is taken over, and how what the model is given is made of it."""
    held: Any = given.get("x") if isinstance(given, Mapping) else given
    if not hasattr(held, "dtype") or not jnp.issubdtype(held.dtype, jnp.floating):
        where = "the input" if stage is None else f"the stage {stage!r}"
        raise InputError(f"{where} is not one array of real numbers, with respect to which there is a gradient")
    return held, (lambda array: {**given, "x": array}) if isinstance(given, Mapping) else (lambda array: array)
