"""What changes have in common: TIES (Yadav et al. 2023, arXiv:2306.01708)."""

from jtransfer.core.errors import unknown
from jtransfer.fusion import trimming
from jtransfer.fusion.method import CHANGES, Array, Method, Weights, column

CONVENTIONS = ("total", "frequency", "weighted", "weighted_sum")


def ties(changes: Array, weights: Weights, *, density: float = 0.5, convention: str = "total") -> Array:
    """Returns what changes have in common.

    Of each change the greatest numbers are kept; for each place one sign is elected; those that have it are averaged.

    Args:
      changes: [n, …].
      weights: n numbers.
      density: The share of the numbers of each change that is kept.
      convention: "total", the sign of the sum, and "frequency", that of the most, are those of Hugging Face's PEFT:
        signs are elected without weights, and the weighted sum is divided by the number of those that agree. "weighted"
        is mergekit's: signs are elected with weights, and the sum is divided by the sum of the weights of those that
        agree; "weighted_sum", mergekit's without normalisation, is not divided.
    """
    trimming.check_density(density)
    xp = changes.__array_namespace__()
    return agreed(xp.stack([trimming.greatest(change, density) for change in changes]), weights, convention)


def agreed(changes: Array, weights: Weights, convention: str = "total") -> Array:
    """Returns the mean of those numbers at each place that have the elected sign; arguments as of `ties`."""
    if convention not in CONVENTIONS:
        raise unknown("convention of TIES:", convention, CONVENTIONS)
    xp = changes.__array_namespace__()
    by_change = column(weights, changes)
    weighted = changes * by_change
    votes = {"total": changes, "frequency": xp.sign(changes)}.get(convention, weighted)
    signs = xp.where(votes.sum(0) >= 0, 1, -1)
    agree = xp.sign(weighted if convention.startswith("weighted") else changes) == signs
    total = xp.sum(weighted * agree, 0)
    if convention == "weighted_sum":
        return total
    if convention == "weighted":
        shares = xp.sum(by_change * agree, 0)
        return total / xp.where(shares == 0, 1, shares)
    return total / xp.maximum(agree.sum(0), 1)


METHOD = Method(ties, (CHANGES,), share=False)
