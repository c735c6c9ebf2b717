"""The attribution that suits a model and its input."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jtransfer.attribution.gradcam import grad_cam
from jtransfer.attribution.gradient import gradient_input
from jtransfer.attribution.spatial import spatial_stage
from jtransfer.core.errors import InputError
from jtransfer.models import forward


class Attribution(struct.PyTreeNode):
    """What an output rests on, as a jitted function may return it.

    Attributes:
      how: "Grad-CAM" or "gradient × input".
      at: The stage that it was taken at; "" of the input itself.
      values: float32 [B, h, w] of a map, [B, n] of tokens, [B, d] of numbers.
    """

    how: str = struct.field(pytree_node=False)
    at: str = struct.field(pytree_node=False)
    values: jax.Array


def explain(model: nn.Module, variables: Mapping[str, Any], x: Any, targets: jax.Array) -> Attribution:
    """Returns Grad-CAM of images, gradient × input of vectors, and the same of the embeddings of tokens.

    Args:
      model: A chain of stages, or, of vectors, any Linen module.
      variables: The model's variables.
      x: The model's input: float [B, H, W, C], float [B, d], or of tokens what the chain's first stage takes.
      targets: int32 [B], which output of each example is asked about.

    Raises:
      InputError: Nothing is known for such a model or input; the line says why.
    """
    if hasattr(x, "ndim") and jnp.issubdtype(x.dtype, jnp.floating):
        if x.ndim == 2:
            return Attribution("gradient × input", "", gradient_input(model, variables, x, targets))
        if x.ndim == 4 and (at := spatial_stage(model, variables, x)):
            return Attribution("Grad-CAM", at, grad_cam(model, variables, x, targets, at))
    stages = forward.stages(model)
    if not stages:
        raise InputError(f"{type(model).__name__} has no stages, at one of which a map could be taken")
    if _is_tokens(x):
        return Attribution("gradient × input", stages[0], gradient_input(model, variables, x, targets, stages[0]))
    raise InputError(f"{type(model).__name__} has no stage that returns a map")


def _is_tokens(x: Any) -> bool:
    ids: Any = x.get("input_ids") if isinstance(x, Mapping) else x
    return getattr(ids, "ndim", 0) == 2 and jnp.issubdtype(ids.dtype, jnp.integer)
