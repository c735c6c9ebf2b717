"""Changes of which a random share is kept and scaled up: DARE (Yu et al. 2023, arXiv:2311.03099)."""

from typing import Any

from jtransfer.fusion import trimming
from jtransfer.fusion.method import CHANGES, RNG, Array, Method, Weights, weighted_sum
from jtransfer.fusion.ties import agreed


def dare(changes: Array, weights: Weights, *, rng: Any, density: float = 0.5) -> Array:
    """Returns the weighted sum of changes.

    Args:
      changes: [n, …].
      weights: n numbers.
      rng: A `numpy.random.Generator`.
      density: The share of the numbers of each change that is kept.
    """
    return weighted_sum(_dropped(changes, rng, density), weights)


def dare_ties(changes: Array, weights: Weights, *, rng: Any, density: float = 0.5, convention: str = "total") -> Array:
    """Returns what changes have in common; `convention` as of `ties.ties`, the other arguments as of `dare`."""
    return agreed(_dropped(changes, rng, density), weights, convention)


def _dropped(changes: Array, rng: Any, density: float) -> Array:
    trimming.check_density(density)
    return trimming.dropped(changes, rng.random(changes.shape, "float32") < density, density).astype(changes.dtype)


DARE = Method(dare, (CHANGES, RNG))
DARE_TIES = Method(dare_ties, (CHANGES, RNG), share=False)
