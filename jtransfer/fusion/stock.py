"""Between the base and the average, as far as the changes agree: model stock (Jang et al. 2024, arXiv:2403.19522)."""

from jtransfer.fusion.method import CHANGES, Array, Method, Weights

_LEAST = 1e-6


def stock(changes: Array, *, weights: Weights = ()) -> Array:
    """Returns t times the mean of changes, where t = n c / (1 + (n - 1) c), and c is the mean cosine of two changes, as
    mergekit computes it for each tensor.

    Args:
      changes: [n, …], of two models or more.
      weights: Not used.
    """
    xp, count = changes.__array_namespace__(), len(changes)
    flat = changes.reshape(count, -1)
    lengths = xp.sqrt((flat * flat).sum(-1))
    least = xp.maximum(lengths[:, None] * lengths, _LEAST)
    cosines = xp.clip(flat @ flat.T / least, -1, 1)
    mean = (cosines.sum() - xp.trace(cosines)) / (count * (count - 1))
    share = count * mean / (1 + (count - 1) * mean)
    return share * changes.mean(0)


METHOD = Method(stock, (CHANGES,), counts=(2, float("inf")))
