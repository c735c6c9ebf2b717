"""Position embeddings that are sines and cosines of the position, instead of parameters."""

import numpy as np
from jaxtyping import Float

from jtransfer.core.errors import InputError

_MOST = 1 << 25  # numbers of a table


def sinusoid(length: int, width: int) -> Float[np.ndarray, "length width"]:
    """The sinusoidal embeddings of the positions 0 … length − 1, float32.

    All sines come first, then all cosines, of the same frequencies, which fall geometrically from 1 towards 1 / 10,000.
    If the width is odd, there is one sine more than cosines. This is the layout of Marian's models; the paper's own has
    sines and cosines in turn.

    Raises:
      InputError: The table would have more than 2²⁵ numbers.

    References:
      Vaswani et al., Attention Is All You Need, arXiv:1706.03762, 2017.
    """
    if length * width > _MOST:
        raise InputError(f"sinusoidal embeddings of {length:,} positions × {width:,} are a table of too many numbers")
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles[:, : width // 2])], axis=1).astype(np.float32)
