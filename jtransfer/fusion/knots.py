"""Changes in a basis that they share, and what they have in common there: KnOTS (Stoica et al. 2024,
arXiv:2410.19735)."""

from jtransfer.fusion.method import CHANGES, Array, Method, Weights
from jtransfer.fusion.ties import ties

_LEAST = 1e-5  # singular values below it are of no direction


def knots(changes: Array, weights: Weights, *, density: float = 0.5, convention: str = "total") -> Array:
    """Returns what changes of a kernel have in common in the basis of outputs that a singular value decomposition of
    all of them, one below the other, gives. Arrays with one axis are taken as they are.

    Args:
      changes: [n, …, outputs].
      weights, density, convention: As of `ties.ties`, which is taken in that basis.
    """
    if changes.ndim < 3:
        return ties(changes, weights, density=density, convention=convention)
    xp = changes.__array_namespace__()
    rows = changes.reshape(-1, changes.shape[-1])
    left, sizes, basis = xp.linalg.svd(rows, full_matrices=False)
    left = xp.where(sizes > _LEAST, left * sizes, 0).reshape(len(changes), -1, len(sizes))
    return (ties(left, weights, density=density, convention=convention) @ basis).reshape(changes.shape[1:])


METHOD = Method(knots, (CHANGES,), share=False)
