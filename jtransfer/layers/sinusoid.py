"""Position embeddings that are sines and cosines of the position, instead of parameters."""

import numpy as np
from jaxtyping import Float


def sinusoid(length: int, width: int) -> Float[np.ndarray, "length width"]:
    """The sinusoidal embeddings of the positions 0 … length − 1, float32.

    All sines come first, then all cosines, of the same frequencies, which fall geometrically from 1 towards 1 / 10,000.
    If the width is odd, there is one sine more than cosines. This is the layout of Marian's models; the paper's own has
    sines and cosines in turn.

    References:
      Vaswani et al., Attention Is All You Need, arXiv:1706.03762, 2017.
    """
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles[:, : width // 2])], axis=1).astype(np.float32)
