"""Transforms of one image on the host, as factories that check their arguments and return `(image, rng) -> image`.

Images are uint8 [H, W, C], before and after. A size is one number for a square, or (height, width). OpenCV resizes, and
interpolates without antialiasing, except for the method "area", which averages. `library="pillow"` antialiases when it
shrinks, gives other pixels, and is several times slower.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities.image.colour_ops import HostFn, color_jitter, to_gray
from jtransfer.modalities.image.randaugment import augmentation

cv2.setNumThreads(0)  # the loader's threads share the cores already

Size = int | tuple[int, int]

_OPENCV = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "area": cv2.INTER_AREA,
}
_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}


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
    """

    make: Callable[..., HostFn]
    random: bool = False
    extent: str = "keeps"
    still: str | None = None


def resize(size: Size, method: str = "bilinear", library: str = "opencv") -> HostFn:
    """Resizes an image to exactly `size`, whatever its aspect ratio."""
    height, width = pair(size)
    interpolate = _interpolation(method, library)
    return lambda image, rng: interpolate(image, height, width)


def resize_short(size: int, method: str = "bilinear", library: str = "opencv") -> HostFn:
    """Resizes the shorter side of an image to `size` and keeps the aspect ratio; the longer side is rounded down."""
    _positive(size, "size")
    interpolate = _interpolation(method, library)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        height, width = image.shape[:2]
        short = min(height, width)
        return interpolate(image, size * height // short, size * width // short)

    return apply


def center_crop(size: Size) -> HostFn:
    """Cuts out the centre of an image, which must be at least as large as `size`."""
    height, width = pair(size)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        down, right = _room(image, height, width, "center_crop")
        return _crop(image, round(down / 2), round(right / 2), height, width)

    return apply


def random_crop(size: Size) -> HostFn:
    """Cuts out a random part of an image, which must be at least as large as `size`."""
    height, width = pair(size)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        down, right = _room(image, height, width, "random_crop")
        return _crop(image, int(rng.integers(down + 1)), int(rng.integers(right + 1)), height, width)

    return apply


def random_resized_crop(
    size: Size,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    method: str = "bilinear",
    library: str = "opencv",
) -> HostFn:
    """Cuts out a part of random area and aspect ratio, and resizes it to `size`.

    After ten parts that do not fit into the image, the largest central part with an aspect ratio in the range is taken.

    Args:
      size: The size of the result.
      scale: The range of the area, as a fraction of the image's.
      ratio: The range of the aspect ratio, width / height, from which is drawn log-uniformly.
      method: The interpolation.
      library: "opencv" or "pillow".

    References:
      Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842, 2015.
    """
    height, width = pair(size)
    _increasing(scale, "scale", 1.0)
    _increasing(ratio, "ratio", math.inf)
    interpolate = _interpolation(method, library)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return interpolate(_random_region(image, rng, scale, ratio), height, width)

    return apply


def flip_lr(p: float = 0.5) -> HostFn:
    """Flips an image from left to right with probability `p`."""
    _probability(p)
    return lambda image, rng: _restored(cv2.flip(image, 1), image) if rng.random() < p else image


def randaugment(n: int = 2, m: float = 9) -> HostFn:
    """Applies random operations of one strength.

    Args:
      n: The number of operations.
      m: The strength, from 0 to 10.

    References:
      Cubuk et al., RandAugment, arXiv:1909.13719, 2019.
    """
    _positive(n, "n")
    if not 0 <= m <= 10:
        raise InputError(f"m={m} must be between 0 and 10")
    return lambda image, rng: augmentation(image, rng, n, m)


def pad(pixels: int, value: int | str = 0) -> HostFn:
    """Pads an image on all sides.

    Args:
      pixels: The number of pixels on each side.
      value: The value of the new pixels, 0 to 255, or "reflect".
    """
    _positive(pixels, "pixels")
    if value != "reflect" and not (isinstance(value, int) and 0 <= value <= 255):
        raise InputError(f"value={value!r} must be 0 to 255 or 'reflect'")
    kind, fill = (cv2.BORDER_REFLECT_101, 0) if isinstance(value, str) else (cv2.BORDER_CONSTANT, value)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        return _restored(cv2.copyMakeBorder(image, pixels, pixels, pixels, pixels, kind, value=(fill,) * 4), image)

    return apply


def resize_crop(size: Size, method: str = "bilinear", library: str = "opencv") -> HostFn:
    """Cuts out the largest central part with the aspect ratio of `size`, and resizes it to `size`."""
    height, width = pair(size)
    interpolate = _interpolation(method, library)
    return lambda image, rng: interpolate(_central(image, width / height), height, width)


OPS = {
    "center_crop": Op(center_crop, extent="set"),
    "color_jitter": Op(color_jitter, random=True),
    "flip_lr": Op(flip_lr, random=True),
    "pad": Op(pad, extent="grows"),
    "randaugment": Op(randaugment, random=True),
    "random_crop": Op(random_crop, random=True, extent="set", still="center_crop"),
    "random_resized_crop": Op(random_resized_crop, random=True, extent="set", still="resize_crop"),
    "resize": Op(resize, extent="set"),
    "resize_crop": Op(resize_crop, extent="set"),
    "resize_short": Op(resize_short, extent="varies"),
    "to_gray": Op(to_gray),
}


def pair(size: Size) -> tuple[int, int]:
    """Returns a size as (height, width).

    Raises:
      InputError: It is not one or two positive whole numbers.
    """
    height, width = size if isinstance(size, tuple | list) and len(size) == 2 else (size, size)
    _positive(height, "size")
    _positive(width, "size")
    return height, width


def _positive(value: object, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name}={value!r} must be a positive whole number" + " or a pair" * (name == "size"))


def _increasing(bounds: Any, name: str, most: float) -> None:
    try:
        low, high = bounds
        good = 0 < low <= high <= most
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"{name}={bounds!r} must be (low, high) with 0 < low <= high <= {most}")


def _probability(p: object) -> None:
    if not isinstance(p, int | float) or not 0 <= p <= 1:
        raise InputError(f"p={p!r} must be between 0 and 1")


def _interpolation(method: str, library: str) -> Callable[[np.ndarray, int, int], np.ndarray]:
    if library not in ("opencv", "pillow"):
        raise unknown("library", library, ("opencv", "pillow"))
    codes = _OPENCV if library == "opencv" else _PILLOW
    if method not in codes:
        raise unknown("method", method, codes)
    code = codes[method]

    def with_opencv(image: np.ndarray, height: int, width: int) -> np.ndarray:
        return _restored(cv2.resize(image, (width, height), interpolation=code), image)

    def with_pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        return _restored(np.asarray(picture.resize((width, height), code)), image)

    return with_opencv if library == "opencv" else with_pillow


def _restored(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """OpenCV and Pillow drop a single channel's axis; here it is again."""
    return image if image.ndim == like.ndim else image[..., None]


def _room(image: np.ndarray, height: int, width: int, name: str) -> tuple[int, int]:
    down, right = image.shape[0] - height, image.shape[1] - width
    if down < 0 or right < 0:
        raise InputError(
            f"{name}({height}, {width}): the image is only {image.shape[0]}×{image.shape[1]}; resize or pad it first"
        )
    return down, right


def _crop(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    return image[top : top + height, left : left + width]


def _random_region(image: np.ndarray, rng: np.random.Generator, scale: tuple, ratio: tuple) -> np.ndarray:
    rows, columns = image.shape[:2]
    for _ in range(10):
        area = rows * columns * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
            return _crop(image, top, left, height, width)
    return _central(image, min(max(columns / rows, ratio[0]), ratio[1]))


def _central(image: np.ndarray, aspect: float) -> np.ndarray:
    rows, columns = image.shape[:2]
    height, width = min(rows, max(1, round(columns / aspect))), min(columns, max(1, round(rows * aspect)))
    return _crop(image, (rows - height) // 2, (columns - width) // 2, height, width)
