"""Transforms of one image on the host, as factories that check their arguments and return `(image, rng) -> image`.

Images are uint8 [H, W, C], before and after. A size is one number for a square, or (height, width).
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.image.checked import bounds
from jtransfer.modalities.image.colour_ops import HostFn, color_jitter, random_gray, random_solarize, to_gray
from jtransfer.modalities.image.geometry_ops import (
    flip_lr,
    flip_ud,
    random_affine,
    random_perspective,
    random_rotation,
)
from jtransfer.modalities.image.mixed_augments import augmix, trivial_augment
from jtransfer.modalities.image.pixel_ops import gaussian_blur, gaussian_noise, random_erasing
from jtransfer.modalities.image.randaugment import augmentation
from jtransfer.modalities.image.resize_ops import (
    Size,
    bordered,
    center_crop,
    cut,
    interpolation,
    pair,
    positive,
    resize,
    resize_cover,
    resize_fit,
    resize_short,
    room,
)

cv2.setNumThreads(0)  # the loader's threads share the cores already


@dataclasses.dataclass(frozen=True)
class Op:
    """What a name in a transform stands for.

    Attributes:
      make: The factory, called with the arguments that are written.
      random: Whether the function that it returns uses its generator.
      extent: What the function does to the size of an image: it "keeps" it, it is "set" to the argument `size`, it
        "grows" by the argument `pixels` on each side, or it "varies" with the image.
      still: The name of the op that takes the place of a random one, with its arguments, where nothing may be random;
        None leaves it out.
      colours: Whether it is for images of 3 channels or 1 only.
    """

    make: Callable[..., HostFn]
    random: bool = False
    extent: str = "keeps"
    still: str | None = None
    colours: bool = False


def random_crop(size: Size) -> HostFn:
    """Cuts out a random part of an image, which must be at least as large as `size`."""
    height, width = pair(size)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        down, right = room(image, height, width, "random_crop")
        return cut(image, int(rng.integers(down + 1)), int(rng.integers(right + 1)), height, width)

    return apply


def random_resized_crop(
    size: Size,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    method: str = "bilinear",
    library: str = "pillow",
) -> HostFn:
    """Cuts out a part of random area and aspect ratio, and resizes it to `size`.

    After ten parts that do not fit into the image, the largest central part with an aspect ratio in the range is taken.

    Args:
      size: The size of the result.
      scale: The range of the area, as a fraction of the image's.
      ratio: The range of the aspect ratio, width / height, from which is drawn log-uniformly.
      method: The interpolation.
      library: "pillow" or "opencv".

    References:
      Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842, 2015.
    """
    height, width = pair(size)
    bounds(scale, "scale", 0.0, 1.0)
    bounds(ratio, "ratio", 0.0, math.inf)
    interpolate = interpolation(method, library)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return interpolate(_random_region(image, rng, scale, ratio), height, width)

    return apply


def randaugment(n: int = 2, m: float = 9) -> HostFn:
    """Applies random operations of one strength.

    Args:
      n: The number of operations.
      m: The strength, from 0 to 10.

    References:
      Cubuk et al., RandAugment, arXiv:1909.13719, 2019.
    """
    positive(n, "n")
    if not 0 <= m <= 10:
        raise InputError(f"m={m} must be between 0 and 10")
    return lambda image, rng: augmentation(image, rng, n, m)


def pad(pixels: int, value: int | str = 0) -> HostFn:
    """Pads an image on all sides.

    Args:
      pixels: The number of pixels on each side.
      value: The value of the new pixels, 0 to 255, or "reflect".
    """
    positive(pixels, "pixels")
    if value != "reflect" and not (isinstance(value, int) and 0 <= value <= 255):
        raise InputError(f"value={value!r} must be 0 to 255 or 'reflect'")
    kind, fill = (cv2.BORDER_REFLECT_101, 0) if isinstance(value, str) else (cv2.BORDER_CONSTANT, value)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        return bordered(image, (pixels, pixels, pixels, pixels), kind, (fill,) * 4)

    return apply


def resize_crop(size: Size, method: str = "bilinear", library: str = "pillow", rounding: str = "even") -> HostFn:
    """Resizes an image to the smallest size that covers `size`, and cuts out the centre.

    OpenCV cuts out the largest central part with the aspect ratio of `size` first, which `rounding` does not change.

    Args:
      size: The size of the result.
      method: The interpolation.
      library: "pillow" or "opencv".
      rounding: As for `center_crop`.
    """
    height, width = pair(size)
    interpolate = interpolation(method, library)
    if library == "opencv":
        return lambda image, rng: interpolate(_central(image, width / height), height, width)
    cover = resize_short(height, method, library) if height == width else resize_cover(size, method, library)
    crop = center_crop(size, rounding=rounding)
    return lambda image, rng: crop(cover(image, rng), rng)


OPS = {
    "augmix": Op(augmix, colours=True, random=True),
    "center_crop": Op(center_crop, extent="set"),
    "color_jitter": Op(color_jitter, colours=True, random=True),
    "flip_lr": Op(flip_lr, random=True),
    "flip_ud": Op(flip_ud, random=True),
    "gaussian_blur": Op(gaussian_blur, random=True),
    "gaussian_noise": Op(gaussian_noise, random=True),
    "pad": Op(pad, extent="grows"),
    "randaugment": Op(randaugment, colours=True, random=True),
    "random_affine": Op(random_affine, random=True),
    "random_crop": Op(random_crop, random=True, extent="set", still="center_crop"),
    "random_erasing": Op(random_erasing, random=True),
    "random_gray": Op(random_gray, colours=True, random=True),
    "random_perspective": Op(random_perspective, random=True),
    "random_resized_crop": Op(random_resized_crop, random=True, extent="set", still="resize_crop"),
    "random_rotation": Op(random_rotation, random=True),
    "random_solarize": Op(random_solarize, colours=True, random=True),
    "resize": Op(resize, extent="set"),
    "resize_cover": Op(resize_cover, extent="varies"),
    "resize_crop": Op(resize_crop, extent="set"),
    "resize_fit": Op(resize_fit, extent="varies"),
    "resize_short": Op(resize_short, extent="varies"),
    "to_gray": Op(to_gray, colours=True),
    "trivial_augment": Op(trivial_augment, colours=True, random=True),
}

ALIASES = {
    "aug_mix": "augmix",
    "colour_jitter": "color_jitter",
    "flip": "flip_lr",
    "hflip": "flip_lr",
    "horizontal_flip": "flip_lr",
    "random_flip": "flip_lr",
    "random_flip_left_right": "flip_lr",
    "random_horizontal_flip": "flip_lr",
    "random_flip_up_down": "flip_ud",
    "random_vertical_flip": "flip_ud",
    "vertical_flip": "flip_ud",
    "vflip": "flip_ud",
    "blur": "gaussian_blur",
    "random_gaussian_blur": "gaussian_blur",
    "noise": "gaussian_noise",
    "random_gaussian_noise": "gaussian_noise",
    "rand_augment": "randaugment",
    "random_augment": "randaugment",
    "affine": "random_affine",
    "erasing": "random_erasing",
    "random_erase": "random_erasing",
    "random_grayscale": "random_gray",
    "perspective": "random_perspective",
    "random_rotate": "random_rotation",
    "rotate": "random_rotation",
    "rotation": "random_rotation",
    "solarize": "random_solarize",
    "grayscale": "to_gray",
    "trivial_augment_wide": "trivial_augment",
}
"""What other libraries call an op, in small letters with underscores → its name. Capitals, as in `RandomErasing`, are
read as such."""


def named(name: str) -> str:
    """Returns the name in `OPS` that a name stands for, or the name itself if there is none.

    `Resize` stands for nothing: of a single number it keeps the aspect ratio, as `resize_short` does.
    """
    small = "_".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)).lower() if name[:1].isupper() else name
    known = ALIASES.get(small, small)
    return known if known in OPS and name != "Resize" else name


def _random_region(image: np.ndarray, rng: np.random.Generator, scale: tuple, ratio: tuple) -> np.ndarray:
    rows, columns = image.shape[:2]
    for _ in range(10):
        area = rows * columns * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
            return cut(image, top, left, height, width)
    return _central(image, min(max(columns / rows, ratio[0]), ratio[1]))


def _central(image: np.ndarray, aspect: float) -> np.ndarray:
    rows, columns = image.shape[:2]
    height, width = min(rows, max(1, round(columns / aspect))), min(columns, max(1, round(rows * aspect)))
    return cut(image, (rows - height) // 2, (columns - width) // 2, height, width)
