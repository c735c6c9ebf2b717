"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) on uint8 images: what Pillow's operations give, in less time."""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from jtransfer.modalities.image import affine
from jtransfer.modalities.image.geometry_ops import mover
from jtransfer.modalities.image.resize_ops import restored

_GREY = 128  # what comes in from outside the image
_VALUES = np.arange(256)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # of Pillow's filter of that name

Operation = Callable[[np.ndarray, float, int], np.ndarray]
"""`(image, strength, sign) -> image`, uint8 [H, W, C] of 1 or 3 channels, with a strength from 0 to 1."""


def augmentation(image: np.ndarray, rng: np.random.Generator, n: int, m: float) -> np.ndarray:
    """Applies operations drawn from the fourteen of the paper, with a random sign where they have one.

    Args:
      image: uint8 [H, W, C].
      rng: The generator.
      n: The number of operations.
      m: Their strength, from 0 to 10.

    References:
      Cubuk et al., RandAugment, arXiv:1909.13719, 2019.
    """
    for which in rng.integers(len(OPERATIONS), size=n).tolist():
        sign = 1 if rng.random() < 0.5 else -1
        image = OPERATIONS[which](image, m / 10, sign)
    return image


def _looked_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each value by a table, [256] of all channels or [256, C] of each."""
    table = table.astype(np.uint8).reshape(1, 256, -1)
    return restored(cv2.LUT(image, table), image)


def _by_counts(table: Callable[[np.ndarray], np.ndarray]) -> Operation:
    """The operation that looks up each channel in a table, which a function makes of how often each value is there."""

    def apply(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
        counts = [cv2.calcHist([image], [i], None, [256], [0, 256]) for i in range(image.shape[2])]
        return _looked_up(image, np.stack([table(one.reshape(-1).astype(np.int64)) for one in counts], 1))

    return apply


def _stretched(counts: np.ndarray) -> np.ndarray:
    """The table that makes the lowest value 0 and the highest 255."""
    low, high = (int(found) for found in np.flatnonzero(counts)[[0, -1]])
    scale = 255.0 / max(high - low, 1)
    return (_VALUES * scale - low * scale).astype(int).clip(0, 255) if low < high else _VALUES


def _equal(counts: np.ndarray) -> np.ndarray:
    """The table that makes all values equally frequent."""
    before = np.cumsum(counts) - counts
    step = before[np.flatnonzero(counts)[-1]] // 255
    return ((before + step // 2) // step).clip(0, 255) if step else _VALUES


def _solarize(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
    return _looked_up(image, np.where(round(256 * (1 - strength)) > _VALUES, _VALUES, 255 - _VALUES))


def _posterize(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
    return _looked_up(image, _VALUES & -(2 ** round(4 * strength)))


def _color(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
    if image.shape[2] == 1:
        return image
    return _blended(cv2.cvtColor(_luma(image), cv2.COLOR_GRAY2RGB), image, _factor(strength, sign))


def _contrast(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
    mean = np.uint8(_luma(image).mean() + 0.5)
    return _looked_up(image, _blended(mean, _VALUES.astype(np.uint8), _factor(strength, sign)))


def _brightness(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
    return _looked_up(image, _blended(np.uint8(0), _VALUES.astype(np.uint8), _factor(strength, sign)))


def _sharpness(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
    smooth, inner = image.copy(), (slice(1, -1), slice(1, -1))
    smooth[inner] = restored(cv2.filter2D(image, -1, _SMOOTH), image)[inner]
    return _blended(smooth, image, _factor(strength, sign))


def _factor(strength: float, sign: int) -> float:
    return 1 + 0.9 * strength * sign


def _luma(image: np.ndarray) -> np.ndarray:
    """The grey of an image, uint8 [H, W], rounded as in Pillow, which OpenCV does otherwise."""
    return np.asarray(Image.fromarray(image).convert("L")) if image.shape[2] == 3 else image[..., 0]


def _blended(anchor: np.ndarray | np.uint8, image: np.ndarray, factor: float) -> np.ndarray:
    """`anchor` at factor 0, `image` at 1, beyond at larger ones; computed in float32, clipped and rounded down."""
    mixed = np.subtract(image, anchor, dtype=np.float32)
    mixed *= np.float32(factor)
    mixed += anchor
    return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)


def _affine(numbers: Callable[[float, np.ndarray], affine.Numbers]) -> Operation:
    """The operation that moves pixels as a map does, which a function makes of a strength with a sign and the image."""
    of_large = mover("bilinear", _GREY)

    def move(image: np.ndarray, strength: float, sign: int) -> np.ndarray:
        found = numbers(strength * sign, image)
        if max(image.shape) > affine.LARGEST:
            return of_large(image, Image.Transform.AFFINE, found)
        return affine.bilinear(image, found, _GREY)

    return move


def _translated(axis: int) -> Operation:
    return lambda image, strength, sign: affine.shifted(image, 0.45 * strength * sign * image.shape[axis], axis, _GREY)


OPERATIONS: tuple[Operation, ...] = (
    lambda image, strength, sign: image,
    _by_counts(_stretched),
    _by_counts(_equal),
    _affine(lambda share, image: affine.rotation(30 * share, (image.shape[1], image.shape[0]))),
    _solarize,
    _color,
    _posterize,
    _contrast,
    _brightness,
    _sharpness,
    _affine(lambda share, image: (1, 0.3 * share, 0, 0, 1, 0)),
    _affine(lambda share, image: (1, 0, 0, 0.3 * share, 1, 0)),
    _translated(1),
    _translated(0),
)
