"""Host transforms of one image: factories that check their arguments and return `(image, rng) -> image`.

Images are uint8 [H, W, C] going in and coming out. A size is one number for a square, or (height, width). Resizing runs
on OpenCV, which interpolates without antialiasing (method "area" averages instead), unless `library="pillow"` is asked
for, which antialiases when it shrinks: other pixels, and several times slower.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities.image.randaugment import augmentation

cv2.setNumThreads(0)  # the loader's threads share the cores already

HostFn = Callable[[np.ndarray, Any], np.ndarray]  # the generator may be None where nothing is random
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
      make: from the written arguments to the function.
      random: whether the function uses its generator.
      extent: what becomes of the image's size: it "keeps", is "set" to the argument `size`, "grows" by the argument
        `pixels` on each border, or "varies" with the image.
      still: the op that takes a random one's place, with its arguments, where nothing may be random; None: none does.
    """

    make: Callable[..., HostFn]
    random: bool = False
    extent: str = "keeps"
    still: str | None = None


def resize(size: Size, method: str = "bilinear", library: str = "opencv") -> HostFn:
    """To exactly `size`, whatever the aspect."""
    height, width = pair(size)
    interpolate = _interpolation(method, library)
    return lambda image, rng: interpolate(image, height, width)


def resize_short(size: int, method: str = "bilinear", library: str = "opencv") -> HostFn:
    """The shorter side to `size`, the aspect kept; the longer side is rounded down."""
    _positive(size, "size")
    interpolate = _interpolation(method, library)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        height, width = image.shape[:2]
        short = min(height, width)
        return interpolate(image, size * height // short, size * width // short)

    return apply


def center_crop(size: Size) -> HostFn:
    height, width = pair(size)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        down, right = _room(image, height, width, "center_crop")
        return _crop(image, round(down / 2), round(right / 2), height, width)

    return apply


def random_crop(size: Size) -> HostFn:
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
    """A crop of random area share and aspect (log-uniform), resized to `size` (Szegedy et al. 2015, arXiv:1409.4842).

    After ten crops that would not fit, the largest central one of an aspect within `ratio`.
    """
    height, width = pair(size)
    _increasing(scale, "scale", 1.0)
    _increasing(ratio, "ratio", math.inf)
    interpolate = _interpolation(method, library)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return interpolate(_random_region(image, rng, scale, ratio), height, width)

    return apply


def flip_lr(p: float = 0.5) -> HostFn:
    """Left and right exchanged, with probability `p`."""
    _probability(p)
    return lambda image, rng: _restored(cv2.flip(image, 1), image) if rng.random() < p else image


def color_jitter(brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0) -> HostFn:
    """Each of the four by a random amount, in random order.

    The first three blend with black, the image's mean grey, and its own grey by a factor in [max(0, 1 - x), 1 + x]; the
    hue turns by up to ±`hue` of the circle, at most 0.5. On one channel the last two do nothing.
    """
    for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation), ("hue", hue)):
        if not 0 <= value <= (0.5 if name == "hue" else math.inf):
            raise InputError(f"{name}={value} must be 0 or more{', at most 0.5' if name == 'hue' else ''}")
    blends = [(_black, brightness), (_mean_grey, contrast), (_grey, saturation)]

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for which in rng.permutation(4).tolist():
            if which == 3:
                image = _turn_hue(image, rng.uniform(-hue, hue)) if hue else image
            elif blends[which][1]:
                anchor, x = blends[which]
                image = _blend(image, anchor(image), rng.uniform(max(0.0, 1 - x), 1 + x))
        return image

    return apply


def randaugment(n: int = 2, m: float = 9) -> HostFn:
    """`n` random operations of strength `m` of 10 (Cubuk et al. 2020, arXiv:1909.13719)."""
    _positive(n, "n")
    if not 0 <= m <= 10:
        raise InputError(f"m={m} must be between 0 and 10")
    return lambda image, rng: augmentation(image, rng, n, m)


def pad(pixels: int, value: int | str = 0) -> HostFn:
    """`pixels` on each border, filled with `value` (0 to 255) or by "reflect"."""
    _positive(pixels, "pixels")
    if value != "reflect" and not (isinstance(value, int) and 0 <= value <= 255):
        raise InputError(f"value={value!r} must be 0 to 255 or 'reflect'")
    kind, fill = (cv2.BORDER_REFLECT_101, 0) if isinstance(value, str) else (cv2.BORDER_CONSTANT, value)

    def apply(image: np.ndarray, rng: Any) -> np.ndarray:
        return _restored(cv2.copyMakeBorder(image, pixels, pixels, pixels, pixels, kind, value=(fill,) * 4), image)

    return apply


def to_gray() -> HostFn:
    """Luma (Rec. 601) in every channel; the number of channels stays."""
    return lambda image, rng: cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2RGB) if image.shape[2] == 3 else image


def resize_crop(size: Size, method: str = "bilinear", library: str = "opencv") -> HostFn:
    """The largest central crop with the aspect of `size`, resized to it."""
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
    """A size as (height, width)."""
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


def _blend(image: np.ndarray, anchor: np.ndarray | float, factor: float) -> np.ndarray:
    """`anchor` at factor 0, `image` at 1, beyond at larger ones; rounded and clipped."""
    mixed = np.float32(factor) * image + np.float32(1 - factor) * anchor
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _black(image: np.ndarray) -> float:
    return 0.0


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] if image.shape[2] == 3 else image


def _mean_grey(image: np.ndarray) -> float:
    return float(np.rint(_grey(image).mean()))


def _turn_hue(image: np.ndarray, turn: float) -> np.ndarray:
    if image.shape[2] != 3:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(turn * 256) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
