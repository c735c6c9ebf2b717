"""What a way to fuse weights is: a pure function of the arrays that several models have at one path."""

from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any  # NumPy's or JAX's: each function computes with the library of what it is given
Weights = Any  # n numbers

BASE, CHANGES, RNG, FISHERS, GRAMS = "base", "changes", "rng", "fishers", "grams"


class Method(NamedTuple):
    """A way to fuse.

    Attributes:
      fuse: A function from arrays [n, …] and `weights`, n numbers, to the fused array […]; what it needs beside them
        and its own fields are keyword arguments.
      needs: Of `BASE`, the array […] that all models began from; `CHANGES`, which has `fuse` be given the arrays less
        those of the base, to which what it returns is added; `RNG`, a `numpy.random.Generator`; `FISHERS`, the Fisher
        information [n, …]; and `GRAMS`, the inner products [n, d, d] of the inputs of a kernel [d, …].
      share: The weight of each of n models where none are given is 1 / n; otherwise it is 1.
      counts: The least and the greatest number of models.
      statistics: As `fuse`, for means and variances of batch norms, which are no weights; None is their average.
    """

    fuse: Callable[..., Array]
    needs: tuple[str, ...] = ()
    share: bool = True
    counts: tuple[int, float] = (1, float("inf"))
    statistics: Callable[..., Array] | None = None


def column(weights: Weights, arrays: Array) -> Array:
    """Returns the weights with the axes and the dtype of arrays [n, …], [n, 1, …]."""
    xp = arrays.__array_namespace__()
    return xp.asarray(weights, dtype=arrays.dtype).reshape(-1, *[1] * (arrays.ndim - 1))


def weighted_sum(arrays: Array, weights: Weights) -> Array:
    """Returns the sum of arrays [n, …], each times its weight."""
    xp = arrays.__array_namespace__()
    return xp.tensordot(xp.asarray(weights, dtype=arrays.dtype), arrays, 1)
