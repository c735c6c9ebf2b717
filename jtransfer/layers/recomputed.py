"""Activations that a gradient computes once more, in place of keeping them."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jax import lax

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.types import Array


def recomputed(act: Callable[..., Array], make: Callable[..., nn.Module], *given: Array) -> Array:
    """Returns `make()(act(*given))`, of which the gradient keeps what is given, and not what `act` makes of it.

    On GPUs and TPUs the activation is computed on the way of what the gradient reads anyway; it would be the largest
    array that a transformer's layer keeps. CPUs keep it, and so does a module whose input is changed on its way.

    Args:
      act: A function element by element.
      make: The constructor of a dense module, which takes the field `dot_general`.
      *given: What `act` takes.
    """
    y = act(*given)
    if dispatch.on_cpu():
        return make()(y)

    def product(x: Array, kernel: Array, *dimensions, **how) -> Array:
        if x is not y:
            return lax.dot_general(x, kernel, *dimensions, **how)
        again = jax.checkpoint(lambda kernel, *given: lax.dot_general(act(*given), kernel, *dimensions, **how))
        return again(kernel, *given)

    return make(dot_general=product)(y)
