"""What of a change is kept: its greatest numbers, those that are neither the greatest nor the smallest, or any."""

from jtransfer.core.errors import InputError
from jtransfer.fusion.method import Array


def greatest(change: Array, density: float) -> Array:
    """Returns a change with zeros in place of all but its greatest numbers; of equal ones the first are kept.

    Args:
      change: […].
      density: The share of the numbers that is kept, rounded down.
    """
    return between(change, change.size - int(density * change.size), change.size)


def between(change: Array, low: int, high: int) -> Array:
    """Returns a change with zeros but in the places from `low` to `high`, in the order of the sizes of its numbers.

    Args:
      change: […].
      low, high: Places, from 0, the smallest number, to the number of numbers.
    """
    return change * (_among_greatest(change, change.size - low) & ~_among_greatest(change, change.size - high))


def dropped(change: Array, kept: Array, density: float) -> Array:
    """Returns a change of which a random share is kept and scaled up (DARE, Yu et al. 2023, arXiv:2311.03099).

    Args:
      change: […].
      kept: Bools […], True with the probability `density`.
      density: The share that is kept.
    """
    return change * kept / density


def _among_greatest(change: Array, count: int) -> Array:
    """Bools, whether each number is one of the greatest `count`."""
    xp = change.__array_namespace__()
    sizes = xp.abs(change).reshape(-1)
    if count <= 0 or count >= sizes.size:
        return xp.full(change.shape, count > 0)
    least = xp.sort(sizes)[sizes.size - count]
    more, equal = sizes > least, sizes == least
    return (more | (equal & (xp.cumsum(equal) <= count - more.sum()))).reshape(change.shape)


def check_density(density: float) -> None:
    """Raises an InputError if a share of numbers is none."""
    if not 0 < density <= 1:
        raise InputError(f"density={density} must be above 0 and at most 1")
