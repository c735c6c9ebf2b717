"""Which stages of a chain return maps: arrays over the places of an image, or tokens that are its patches in order."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jtransfer.models import forward

_FURTHER = 5  # tokens before the patches, at most


def spatial_stage(model: nn.Module, variables: Mapping[str, Any], x: Any) -> str:
    """Returns the last stage of a chain whose output is a map, by the shapes alone.

    Of tokens with further ones before the patches, such as a class token, it is the last but one: of what the last one
    returns for the patches, a classifier that reads the class token sees nothing.

    Args:
      model: Any Linen module.
      variables: The model's variables.
      x: The model's input, [B, H, W, C].

    Returns:
      The stage's name; "" where the model has no stages, or none that returns a map.
    """
    stages = forward.stages(model)[:-1]
    if not stages or getattr(x, "ndim", 0) != 4:
        return ""
    shapes = jax.eval_shape(lambda v, x: forward.apply(model, v, x, outputs=stages)[0], variables, x)
    found = [(stage, held) for stage in stages if (held := grid(shapes[stage], x.shape[1:3]))]
    if not found:
        return ""
    further = found[-1][1][2] if shapes[found[-1][0]].ndim == 3 else 0
    return found[-2 if further and len(found) > 1 else -1][0]


def grid(output: Any, sides: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Returns height and width of a map, and the number of tokens before its places; None where an output is no map.

    Args:
      output: An array or its shape: [B, h, w, C], or tokens [B, n, C].
      sides: Height and width of the image.
    """
    shape = getattr(output, "shape", ())
    if len(shape) == 4 and shape[1] * shape[2] > 1:
        return shape[1], shape[2], 0
    if len(shape) != 3:
        return None
    height, width = sides
    cells = [(height // side, width // side) for side in _divisors(math.gcd(height, width))]
    fits = [(h, w, shape[1] - h * w) for h, w in cells if h * w > 1 and 0 <= shape[1] - h * w <= _FURTHER]
    return min(fits, key=lambda one: one[2], default=None)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
