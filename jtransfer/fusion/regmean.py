"""The kernel whose outputs are nearest to those of all models on their own inputs: RegMean (Jin et al. 2022,
arXiv:2212.09849)."""

from jtransfer.core.errors import InputError
from jtransfer.fusion.averaging import average
from jtransfer.fusion.method import GRAMS, Array, Method, Weights


def regmean(arrays: Array, weights: Weights, *, grams: Array | None = None, alpha: float = 0.9) -> Array:
    """Returns (Σ wᵢ Gᵢ)⁻¹ Σ wᵢ Gᵢ Wᵢ, or the average of what is no kernel of a dense layer.

    Where the inputs say nothing of a kernel, as of a unit that is always 0, it is the average, too.

    Args:
      arrays: Kernels [n, d, …].
      weights: n numbers.
      grams: [n, d, d], Gᵢ = Xᵢᵀ Xᵢ of the inputs Xᵢ of the layer; None is the average.
      alpha: What is left of the numbers off the diagonals of Gᵢ: 1 leaves them, 0 takes the diagonals alone.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha={alpha} of RegMean must be from 0 to 1")
    if grams is None:
        return average(arrays, weights)
    xp, size = arrays.__array_namespace__(), grams.shape[-1]
    left = grams * xp.where(xp.eye(size, dtype=bool), 1, alpha)
    left = left * xp.asarray(weights, dtype=grams.dtype)[:, None, None]
    kernels = arrays.reshape(len(arrays), size, -1)
    mean = average(kernels, weights)
    right = (left @ (kernels - mean)).sum(0)
    found = mean + xp.linalg.lstsq(left.sum(0), right, rcond=None)[0]
    return found.reshape(arrays.shape[1:]).astype(arrays.dtype)


METHOD = Method(regmean, (GRAMS,))
