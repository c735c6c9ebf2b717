"""Makes pretrained arrays fit another image size, patch, window, vocabulary or set of classes.

These are pure functions of NumPy arrays in the layouts of this package. Results have the dtype of the array that was
given. A grid is (height, width).
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
    """Resizes position embeddings to another grid of patches, by bicubic interpolation.

    Args:
      table: The embeddings of `prefix` tokens and of the patches, row by row.
      old: The grid that the table is of.
      new: The grid to resize it to.
      prefix: The number of tokens before the patches, whose embeddings stay as they are.
      antialias: Whether the filter widens where the grid shrinks, as in timm and big_vision. transformers and the
        authors of DINOv2 do without, for images of another size.

    Raises:
      InputError: The table is not one of the old grid.
    """
    if table.shape[1] != prefix + math.prod(old):
        raise InputError(f"{table.shape[1]} positions are not {prefix} tokens and a grid of {old[0]}×{old[1]}")
    tokens, grid = table[:, :prefix], table[0, prefix:].reshape(*old, -1)
    moved = _resize(grid, new, antialias).reshape(1, -1, table.shape[-1])
    return np.concatenate([tokens, moved.astype(table.dtype)], axis=1)


def resize_patches(kernel: Float[np.ndarray, "h w c d"], new: Grid) -> Float[np.ndarray, "i j c d"]:
    """Resizes the kernel of a patch embedding to another size of patches.

    The new kernel is the one whose answer to a resized patch (bicubic, antialiased) is nearest to the old kernel's
    answer to the patch itself. The two are equal where patches grow.

    Args:
      kernel: The kernel [height, width, channels, features].
      new: Height and width of the new patches.

    References:
      Beyer et al., FlexiViT: One Model for All Patch Sizes, arXiv:2212.08013, 2022.
    """
    rows, columns = (np.linalg.pinv(_matrix(o, n, True).T) for o, n in zip(kernel.shape, new, strict=False))
    return np.einsum("ih,jw,hwcd->ijcd", rows, columns, kernel).astype(kernel.dtype)


def adapt_channels(kernel: Float[np.ndarray, "h w c d"], channels: int) -> Float[np.ndarray, "h w k d"]:
    """Changes the number of input channels of a first convolution, by timm's rule.

    For one channel, the channels c are summed. For k others, they are repeated in order and multiplied by c / k.

    Args:
      kernel: The kernel [height, width, channels, features].
      channels: The new number of input channels.
    """
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True).astype(kernel.dtype)
    return (kernel[:, :, np.arange(channels) % old] * (old / channels)).astype(kernel.dtype)


def resize_bias(table: Float[np.ndarray, "n h"], window: int) -> Float[np.ndarray, "m h"]:
    """Resizes relative position biases to another window, by bicubic interpolation, as the authors of Swin do.

    Args:
      table: The biases of a square window [(2·old − 1)², heads].
      window: The side of the new window.

    Raises:
      InputError: The table is not one of a square window.
    """
    side = math.isqrt(len(table))
    if side**2 != len(table) or side % 2 == 0:
        raise InputError(f"{len(table)} relative positions are not those of a square window")
    new = 2 * window - 1
    return _resize(table.reshape(side, side, -1), (new, new), False).reshape(new**2, -1).astype(table.dtype)


def extend_vocabulary(table: Float[np.ndarray, "*s"], size: int, axis: int = 0) -> Float[np.ndarray, "*t"]:
    """Extends embeddings, or the kernel or bias of logits, to a greater vocabulary.

    New tokens come at the end. Each starts as the mean of all old ones.

    Args:
      table: The array.
      size: The new number of tokens.
      axis: The axis of tokens.

    Raises:
      InputError: The new vocabulary is smaller than the old one.
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
    """Makes the kernel or bias of a head for other classes, in which classes of the same name keep their values.

    Args:
      old: The pretrained array, with the classes along the last axis.
      fresh: A newly drawn array for the new classes, from which all others are taken.
      old_names: The names of the old classes, in order.
      new_names: The names of the new classes, in order.

    Raises:
      InputError: There are not as many names as classes.
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
    """The matrix that interpolates `old` samples at `new` positions bicubically, as PyTorch does.

    Pixel centres lie at halves. With antialiasing, the filter is Catmull-Rom's and samples beyond the edge do not
    count; without, its parameter is −0.75 and the samples at the edge are repeated.
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
    """The cubic convolution kernel of Keys (1981) with the parameter a."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
