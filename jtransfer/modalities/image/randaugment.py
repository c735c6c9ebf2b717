"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) on uint8 images, with Pillow."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_GREY = 128  # what comes in from outside the image


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
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    for which in rng.integers(len(OPERATIONS), size=n).tolist():
        sign = 1 if rng.random() < 0.5 else -1
        picture = OPERATIONS[which](picture, m / 10, sign)
    return np.asarray(picture).reshape(image.shape)


def _enhance(kind: type) -> Callable:
    return lambda picture, strength, sign: kind(picture).enhance(1 + 0.9 * strength * sign)


def _moved(picture: Image.Image, matrix: tuple) -> Image.Image:
    fill = _GREY if picture.mode == "L" else (_GREY,) * 3
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


def _rotate(picture: Image.Image, strength: float, sign: int) -> Image.Image:
    fill = _GREY if picture.mode == "L" else (_GREY,) * 3
    return picture.rotate(30 * strength * sign, Image.Resampling.BILINEAR, fillcolor=fill)


OPERATIONS = (
    lambda picture, strength, sign: picture,
    lambda picture, strength, sign: ImageOps.autocontrast(picture),
    lambda picture, strength, sign: ImageOps.equalize(picture),
    _rotate,
    lambda picture, strength, sign: ImageOps.solarize(picture, round(256 * (1 - strength))),
    _enhance(ImageEnhance.Color),
    lambda picture, strength, sign: ImageOps.posterize(picture, 8 - round(4 * strength)),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    lambda picture, strength, sign: _moved(picture, (1, 0.3 * strength * sign, 0, 0, 1, 0)),
    lambda picture, strength, sign: _moved(picture, (1, 0, 0, 0.3 * strength * sign, 1, 0)),
    lambda picture, strength, sign: _moved(picture, (1, 0, 0.45 * strength * sign * picture.width, 0, 1, 0)),
    lambda picture, strength, sign: _moved(picture, (1, 0, 0, 0, 1, 0.45 * strength * sign * picture.height)),
)
