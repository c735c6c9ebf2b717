"""Pretrained arrays made to fit another input, patch, window, vocabulary or set of classes: pure functions of arrays.

Grids are (height, width). All arrays are host arrays in our layouts; what comes back has the dtype of what went in.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jtransfer.core.errors import InputError

Grid = tuple[int, int]


def resize_positions(
    table: Float[np.ndarray, "1 n d"], old: Grid, new: Grid, prefix: int = 1, antialias: bool = True
) -> Float[np.ndarray, "1 m d"]:
    """Position embeddings of another grid of patches: bicubic, the first `prefix` rows (of tokens) as they are.

    Args:
      antialias: widen the filter where the grid shrinks, as timm and big_vision do; False is what transformers and
        the authors of DINOv2 do when they meet an image of another size.

    Raises:
      InputError: the table is not of the old grid.
    """
    if table.shape[1] != prefix + math.prod(old):
        raise InputError(f"{table.shape[1]} positions are not {prefix} tokens and a grid of {old[0]}×{old[1]}")
    tokens, grid = table[:, :prefix], table[0, prefix:].reshape(*old, -1)
    moved = _resize(grid, new, antialias).reshape(1, -1, table.shape[-1])
    return np.concatenate([tokens, moved.astype(table.dtype)], axis=1)


def resize_patches(kernel: Float[np.ndarray, "h w c d"], new: Grid) -> Float[np.ndarray, "i j c d"]:
    """The patch embedding for another size of patches (FlexiViT, arXiv:2212.08013).

    The new kernel is the one whose answer to a patch that was resized (bicubic, antialiased) is nearest to the old
    kernel's answer to the patch itself: equal, where patches grow.
    """
    rows, columns = (np.linalg.pinv(_matrix(o, n, True).T) for o, n in zip(kernel.shape, new, strict=False))
    return np.einsum("ih,jw,hwcd->ijcd", rows, columns, kernel).astype(kernel.dtype)


def adapt_channels(kernel: Float[np.ndarray, "h w c d"], channels: int) -> Float[np.ndarray, "h w k d"]:
    """The first convolution for another number of input channels k (timm's rule).

    One channel: the sum over c. Others: the channels repeated in order, times c / k.
    """
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True).astype(kernel.dtype)
    return (kernel[:, :, np.arange(channels) % old] * (old / channels)).astype(kernel.dtype)


def resize_bias(table: Float[np.ndarray, "n h"], window: int) -> Float[np.ndarray, "m h"]:
    """Relative position biases [(2·old − 1)², heads] for another window: bicubic, as Swin's authors do.

    Raises:
      InputError: the table is not of a square window.
    """
    side = math.isqrt(len(table))
    if side**2 != len(table) or side % 2 == 0:
        raise InputError(f"{len(table)} relative positions are not those of a square window")
    new = 2 * window - 1
    return _resize(table.reshape(side, side, -1), (new, new), False).reshape(new**2, -1).astype(table.dtype)


def extend_vocabulary(table: Float[np.ndarray, "*s"], size: int, axis: int = 0) -> Float[np.ndarray, "*t"]:
    """Embeddings [v, d] or logits' kernel or bias of `size` tokens: the new ones, at the end, start as the mean of all.

    Args:
      axis: the one of tokens.

    Raises:
      InputError: `size` is smaller than the vocabulary.
    """
    new = size - table.shape[axis]
    if new < 0:
        raise InputError(f"a vocabulary of {table.shape[axis]} can't be extended to {size}")
    mean = table.mean(axis=axis, dtype=np.float64, keepdims=True).astype(table.dtype)
    return np.concatenate([table, np.repeat(mean, new, axis)], axis)


def keep_classes(
    old: Float[np.ndarray, "*d k"],
    fresh: Float[np.ndarray, "*d j"],
    old_names: Sequence[str],
    new_names: Sequence[str],
) -> Float[np.ndarray, "*d j"]:
    """A head's kernel or bias for other classes: those with a name in the old head keep their values.

    Args:
      old, fresh: the pretrained and the newly drawn array; classes along the last axis.
      old_names, new_names: of these classes, in order.

    Raises:
      InputError: the names are not as many as the classes.
    """
    for array, names in ((old, old_names), (fresh, new_names)):
        if array.shape[-1] != len(names):
            raise InputError(f"{len(names)} class names for a head of {array.shape[-1]} classes")
    places = {name: i for i, name in enumerate(old_names)}
    shared = [(j, places[name]) for j, name in enumerate(new_names) if name in places]
    kept = fresh.copy()
    if shared:
        to, source = map(list, zip(*shared, strict=True))
        kept[..., to] = old[..., source]
    return kept


def _resize(image: Float[np.ndarray, "h w d"], new: Grid, antialias: bool) -> Float[np.ndarray, "i j d"]:
    rows, columns = (_matrix(o, n, antialias) for o, n in zip(image.shape, new, strict=False))
    return np.einsum("ih,jw,hwd->ijd", rows, columns, image)


def _matrix(old: int, new: int, antialias: bool) -> Float[np.ndarray, "new old"]:
    """Bicubic interpolation of `old` samples at `new` places, pixel centres at halves, as PyTorch does it.

    Antialiased, the filter is Catmull-Rom's and what lies beyond the edge counts for nothing; otherwise its parameter
    is −0.75 and the edge goes on.
    """
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    if antialias:
        width = max(old / new, 1.0)
        weights = _cubic((np.arange(old) - centres[:, None]) / width, -0.5)
        return weights / weights.sum(axis=1, keepdims=True)
    taps = np.floor(centres).astype(int)[:, None] + np.arange(-1, 3)
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new)[:, None], taps.clip(0, old - 1)), _cubic(taps - centres[:, None], -0.75))
    return weights


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (1981) with parameter a."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
