"""Grad-CAM: where in an image a chain of stages sees what speaks for a class."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.attribution.gradient import slopes
from jtransfer.attribution.spatial import grid, spatial_stage
from jtransfer.core.errors import InputError


def grad_cam(
    model: nn.Module, variables: Mapping[str, Any], x: jax.Array, targets: jax.Array, stage: str = ""
) -> jax.Array:
    """Returns the maps of Grad-CAM.

    With A the map that a stage returns, [h, w, C], and y the output that is asked about, each feature k has the weight
    `a_k`, the mean over places of `∂y/∂A_k`, and the map is `relu(Σ_k a_k A_k)`.

    Args:
      model: A chain of stages.
      variables: The model's variables.
      x: The model's input, float [B, H, W, C].
      targets: int32 [B], which output of each example is asked about, such as the predicted class.
      stage: The stage; "" is the last one whose output is a map (`spatial_stage`). Tokens that are patches, row by row,
        are a map; those before them, such as a class token, are left out.

    Returns:
      float32 [B, h, w], 0 or more, as large as the stage's map; not scaled.

    Raises:
      InputError: The model has no such stage, or it returns no map.

    References:
      Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
      arXiv:1610.02391, 2017.
    """
    at = stage or spatial_stage(model, variables, x)
    if not at:
        raise InputError(f"{type(model).__name__} has no stage that returns a map, which Grad-CAM is of")
    held, slope = slopes(model, variables, x, targets, at)
    found = grid(held, x.shape[1:3])
    if found is None:
        raise InputError(f"the stage {at!r} returns {list(held.shape)}, which is no map of an image; name another")
    height, width, further = found
    maps, slope = (
        (part[:, further:].reshape(len(x), height, width, part.shape[-1]) if part.ndim == 3 else part)
        for part in (held.astype(jnp.float32), slope)
    )
    weights = slope.mean((1, 2), keepdims=True)
    return jax.nn.relu((weights * maps).sum(-1))
