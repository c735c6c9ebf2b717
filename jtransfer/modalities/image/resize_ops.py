"""Transforms of the size of one image on the host, as in `image_ops`.

Pillow resizes, and antialiases when it shrinks, as in timm, torchvision and transformers. `library="opencv"` does not
antialias, except for the method "area", which averages; it gives other pixels, and is several times faster. The method
"nearest-exact" is torchvision's, in either library; "nearest" takes the pixel before where two are as near.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities.image.colour_ops import HostFn

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
    "hamming": Image.Resampling.HAMMING,
}


def resize(size: Size, method: str = "bilinear", library: str = "pillow") -> HostFn:
    """Resizes an image to exactly `size`, whatever its aspect ratio."""
    height, width = pair(size)
    interpolate = interpolation(method, library)
    return lambda image, rng: interpolate(image, height, width)


def resize_short(size: int, method: str = "bilinear", library: str = "pillow") -> HostFn:
    """Resizes the shorter side of an image to `size` and keeps the aspect ratio; the longer side is rounded down."""
    positive(size, "size")
    interpolate = interpolation(method, library)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        height, width = image.shape[:2]
        short = min(height, width)
        return interpolate(image, size * height // short, size * width // short)

    return apply


def resize_fit(size: Size, method: str = "bilinear", library: str = "pillow") -> HostFn:
    """Resizes an image to the largest size that fits into `size`, and keeps the aspect ratio; sides are rounded."""
    return _keeping_aspect(size, max, method, library)


def resize_cover(size: Size, method: str = "bilinear", library: str = "pillow") -> HostFn:
    """Resizes an image to the smallest size that covers `size`, and keeps the aspect ratio; sides are rounded."""
    return _keeping_aspect(size, min, method, library)


def _keeping_aspect(size: Size, choose: Callable[[float, float], float], method: str, library: str) -> HostFn:
    height, width = pair(size)
    interpolate = interpolation(method, library)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        ratio = choose(image.shape[0] / height, image.shape[1] / width)
        return interpolate(image, *(max(1, round(side / ratio)) for side in image.shape[:2]))

    return apply


def center_crop(size: Size, value: int | tuple[int, ...] | None = None, rounding: str = "even") -> HostFn:
    """Cuts out the centre of an image.

    Args:
      size: The size of the result.
      value: Of the pixels that are added around an image smaller than `size`, 0 to 255, one number or one for each
        channel. By default an image must be at least as large as `size`.
      rounding: Of half the margin above and on the left, where it is no whole number: "even", to the even number, as in
        torchvision and timm; or "down", as in transformers.
    """
    height, width = pair(size)
    fill = None if value is None else _colour(value)
    if rounding not in ("even", "down"):
        raise unknown("rounding", rounding, ("even", "down"))

    def half(margin: int) -> int:
        return margin // 2 if rounding == "down" else round(margin / 2)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        if fill is not None:
            image = _padded(image, height, width, fill)
        down, right = room(image, height, width, "center_crop")
        return cut(image, half(down), half(right), height, width)

    return apply


def _padded(image: np.ndarray, height: int, width: int, fill: tuple[int, ...]) -> np.ndarray:
    """The image with pixels of the colour `fill` on both sides, as many as it lacks; one more at the end where odd."""
    down, right = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    if not down and not right:
        return image
    sides = down // 2, down - down // 2, right // 2, right - right // 2
    return bordered(image, sides, cv2.BORDER_CONSTANT, fill)


def bordered(image: np.ndarray, sides: tuple[int, int, int, int], kind: int, fill: tuple[int, ...]) -> np.ndarray:
    """Returns an image with pixels above, below, left and right of it, of a kind of border of OpenCV.

    OpenCV knows colours of at most four channels; of more, the others have the first one's value.
    """
    if image.shape[2] <= 4:
        return restored(cv2.copyMakeBorder(image, *sides, kind, value=fill), image)
    parts = (image[..., i : i + 4] for i in range(0, image.shape[2], 4))
    return np.concatenate([bordered(np.ascontiguousarray(part), sides, kind, fill[:1] * 4) for part in parts], 2)


def _colour(value: Any) -> tuple[int, ...]:
    """A value for each channel, as OpenCV wants them."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * 4
    if len(values) not in (3, 4) or not all(type(part) is int and 0 <= part <= 255 for part in values):
        raise InputError(f"value={value!r} must be 0 to 255, one number or one for each channel")
    return values


def pair(size: Size) -> tuple[int, int]:
    """Returns a size as (height, width).

    Raises:
      InputError: It is not one or two positive whole numbers.
    """
    height, width = size if isinstance(size, tuple | list) and len(size) == 2 else (size, size)
    positive(height, "size")
    positive(width, "size")
    return height, width


def positive(value: object, name: str) -> None:
    """Raises InputError where an argument is no positive whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name}={value!r} must be a positive whole number" + " or a pair" * (name == "size"))


def interpolation(method: str, library: str) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Returns the function `(image, height, width) -> image` that resizes by a method of a library.

    Raises:
      InputError: There is no such method or library.
    """
    if library not in ("opencv", "pillow"):
        raise unknown("library", library, ("opencv", "pillow"))
    codes = _OPENCV if library == "opencv" else _PILLOW
    if method == "nearest-exact":
        return _nearest_exact
    if method not in codes:
        raise unknown("method", method, [*codes, "nearest-exact"])
    code = codes[method]

    def with_opencv(image: np.ndarray, height: int, width: int) -> np.ndarray:
        return restored(cv2.resize(image, (width, height), interpolation=code), image)

    def with_pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
        if image.shape[2] not in (1, 3):
            return np.concatenate([with_pillow(band[..., None], height, width) for band in np.moveaxis(image, 2, 0)], 2)
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        return restored(np.asarray(picture.resize((width, height), code)), image)

    return with_opencv if library == "opencv" else with_pillow


def _nearest_exact(image: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = (_nearest(*sides) for sides in zip(image.shape[:2], (height, width), strict=True))
    return image[rows[:, None], columns]


def _nearest(old: int, new: int) -> np.ndarray:
    """The pixels whose centres are nearest, in float32 as torch computes them."""
    scale = np.float32(old) / np.float32(new)
    return np.minimum((np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale, old - 1).astype(int)


def restored(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """OpenCV and Pillow drop a single channel's axis; here it is again."""
    return image if image.ndim == like.ndim else image[..., None]


def room(image: np.ndarray, height: int, width: int, name: str) -> tuple[int, int]:
    """Returns how much higher and wider an image is than a crop; `name` is what is said to crop.

    Raises:
      InputError: The image is smaller.
    """
    down, right = image.shape[0] - height, image.shape[1] - width
    if down < 0 or right < 0:
        raise InputError(
            f"{name}({height}, {width}): the image is only {image.shape[0]}×{image.shape[1]}; resize or pad it first"
        )
    return down, right


def cut(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Returns a part of an image."""
    return image[top : top + height, left : left + width]
