"""An average in which each number weighs what its model's data say of it (Matena & Raffel 2021, arXiv:2111.09832)."""

from jtransfer.fusion.method import FISHERS, Array, Method, Weights, column


def fisher(arrays: Array, weights: Weights, *, fishers: Array, floor: float = 1e-6) -> Array:
    """Returns Σ wᵢ Fᵢ θᵢ / Σ wᵢ Fᵢ.

    Args:
      arrays: [n, …].
      weights: n numbers.
      fishers: [n, …], the diagonals of the Fisher information, none of which is negative.
      floor: What every Fᵢ is at least, so that numbers that no model's data say anything of are averaged.
    """
    xp = arrays.__array_namespace__()
    shares = xp.maximum(fishers, floor) * column(weights, arrays)
    return (shares * arrays).sum(0) / shares.sum(0)


METHOD = Method(fisher, (FISHERS,))
