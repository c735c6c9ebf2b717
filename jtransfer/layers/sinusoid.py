"""Position embeddings that are not learned (Vaswani et al. 2017), sines before cosines."""

import numpy as np
from jaxtyping import Float


def sinusoid(length: int, width: int) -> Float[np.ndarray, "n d"]:
    """The embeddings of the positions 0 … length − 1, float32: all sines, then all cosines, of the same frequencies.

    The frequencies fall geometrically from 1 towards 1 / 10,000; of an odd width the sines have one more.
    """
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles[:, : width // 2])], axis=1).astype(np.float32)
