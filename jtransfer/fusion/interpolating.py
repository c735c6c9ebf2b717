"""Between two models: on a line, as WiSE-FT (Wortsman et al. 2021, arXiv:2109.01903), or on an arc."""

import math

from jtransfer.core.errors import InputError
from jtransfer.fusion.method import BASE, Array, Method, Weights

_PARALLEL = 0.9995  # above this cosine two arrays have no arc between them, and the line is taken


def wise(arrays: Array, *, base: Array, weights: Weights = (), alpha: float = 0.5) -> Array:
    """Returns (1 - alpha) base + alpha fine-tuned.

    Args:
      arrays: [1, …], of the fine-tuned model.
      base: […], of the model before it was fine-tuned.
      weights: Not used.
      alpha: 0 is the base, 1 the fine-tuned model.
    """
    check_place("alpha", alpha)
    return (1 - alpha) * base + alpha * arrays[0]


def line(arrays: Array, *, weights: Weights = (), t: float = 0.5) -> Array:
    """Returns (1 - t) a + t b of arrays [2, …]."""
    check_place("t", t)
    return (1 - t) * arrays[0] + t * arrays[1]


def slerp(arrays: Array, *, weights: Weights = (), t: float = 0.5) -> Array:
    """Returns the array on the arc from one to the other (Shoemake 1985), as mergekit computes it for each tensor.

    Args:
      arrays: [2, …].
      weights: Not used.
      t: 0 is the first, 1 the second.
    """
    check_place("t", t)
    first, second = arrays
    xp = arrays.__array_namespace__()
    lengths = [float(xp.sqrt((one * one).sum())) for one in arrays]
    cosine = float((first * second).sum()) / (lengths[0] * lengths[1]) if all(lengths) else 1.0
    if abs(cosine) > _PARALLEL:
        return line(arrays, t=t)
    angle = math.acos(cosine)
    return (math.sin((1 - t) * angle) * first + math.sin(t * angle) * second) / math.sin(angle)


def check_place(name: str, place: float) -> None:
    """Raises an InputError if a place between two models is none."""
    if not 0 <= place <= 1:
        raise InputError(f"{name}={place} must be from 0, the one model, to 1, the other")


WISE = Method(wise, (BASE,), counts=(1, 1), statistics=wise)
SLERP = Method(slerp, counts=(2, 2), statistics=line)
