"""Sums of what training changed: task arithmetic (Ilharco et al. 2022, arXiv:2212.04089), whole or trimmed."""

from jtransfer.core.errors import InputError
from jtransfer.fusion import trimming
from jtransfer.fusion.method import CHANGES, Array, Method, Weights, weighted_sum


def magnitude(changes: Array, weights: Weights, *, density: float = 0.5) -> Array:
    """Returns the weighted sum of the greatest numbers of each change.

    Args:
      changes: [n, …].
      weights: n numbers.
      density: The share of the numbers of each change that is kept.
    """
    trimming.check_density(density)
    xp = changes.__array_namespace__()
    return weighted_sum(xp.stack([trimming.greatest(change, density) for change in changes]), weights)


def breadcrumbs(changes: Array, weights: Weights, *, density: float = 0.5, gamma: float = 0.01) -> Array:
    """Returns the weighted sum of changes without their greatest and their smallest numbers (Model Breadcrumbs,
    Davari & Belilovsky 2023, arXiv:2312.06795).

    Args:
      changes: [n, …].
      weights: n numbers.
      density: The share of the numbers of each change that is kept.
      gamma: The share that is left out as the greatest; less, where less than that would be left out altogether.
    """
    trimming.check_density(density)
    if not 0 <= gamma < 1:
        raise InputError(f"gamma={gamma} must be at least 0 and below 1")
    xp, size = changes.__array_namespace__(), changes[0].size
    kept = int(density * size)
    top = min(int(gamma * size), size - kept)
    low, high = size - kept - top, size - top
    return weighted_sum(xp.stack([trimming.between(change, low, high) for change in changes]), weights)


TASK_ARITHMETIC = Method(weighted_sum, (CHANGES,))
MAGNITUDE = Method(magnitude, (CHANGES,))
BREADCRUMBS = Method(breadcrumbs, (CHANGES,))
