"""What linear probes say of features."""

import numpy as np
from jax.typing import ArrayLike


def accuracies(kernel: ArrayLike, bias: ArrayLike, features: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Returns the share of examples whose class has the greatest logit, float64 [...].

    Args:
      kernel: float [..., D, C], of any number of probes.
      bias: float [..., C].
      features: float [N, D].
      labels: int [N].
    """
    kernel, bias = np.asarray(kernel), np.asarray(bias)
    flat, x, y = kernel.reshape(-1, *kernel.shape[-2:]), np.asarray(features), np.asarray(labels)
    each = [((x @ one + b).argmax(1) == y).mean() for one, b in zip(flat, bias.reshape(len(flat), -1), strict=True)]
    return np.array(each, np.float64).reshape(kernel.shape[:-2])
