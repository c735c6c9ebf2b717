"""Activations that a gradient computes once more, in place of keeping them."""

from collections.abc import Callable

import flax.linen as nn

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.types import Array


def recomputed(act: Callable[..., Array], dense: nn.Module, *given: Array) -> Array:
    """Returns `dense(act(*given))`, of which the gradient keeps what is given, and not what `act` makes of it.

    On GPUs and TPUs the activation is computed on the way of what the gradient reads anyway; it would be the largest
    array that a transformer's layer keeps. CPUs keep it.

    Args:
      act: A function element by element.
      dense: A bound module.
      *given: What `act` takes.
    """
    if dispatch.on_cpu() or dense.is_initializing():
        return dense(act(*given))
    return nn.remat(lambda dense, *given: dense(act(*given)))(dense, *given)
