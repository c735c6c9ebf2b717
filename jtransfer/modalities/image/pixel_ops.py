"""Transforms of the pixels of one image on the host, of any number of channels, as in `image_ops`."""

import math
from typing import Any

import cv2
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.image.checked import bounds, probability
from jtransfer.modalities.image.colour_ops import HostFn
from jtransfer.modalities.image.resize_ops import restored


def random_erasing(
    p: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: Any = 128,
) -> HostFn:
    """Covers a part of random area and aspect ratio, with probability `p`.

    After ten parts that do not fit into the image, nothing is covered.

    Args:
      p: The probability.
      scale: The range of the area, as a fraction of the image's.
      ratio: The range of the aspect ratio, height / width, from which is drawn log-uniformly.
      value: Of the pixels, 0 to 255, one number or one for each channel; or "random", for each pixel another.

    References:
      Zhong et al., Random Erasing Data Augmentation, arXiv:1708.04896, 2017.
    """
    probability(p)
    bounds(scale, "scale", 0.0, 1.0)
    bounds(ratio, "ratio", 0.0, math.inf)
    values = value if isinstance(value, tuple | list) else (value,)
    if value != "random" and not (values and all(type(part) is int and 0 <= part <= 255 for part in values)):
        raise InputError(f"value={value!r} must be 0 to 255, one number or one for each channel, or 'random'")

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= p or (region := _part(image, rng, scale, ratio)) is None:
            return image
        if value != "random" and len(values) not in (1, image.shape[2]):
            raise InputError(f"random_erasing: value={value!r} is not for images of {image.shape[2]} channels")
        image, own = image.copy(), image[region].shape
        image[region] = rng.integers(0, 256, own, np.uint8) if value == "random" else np.array(values, np.uint8)
        return image

    return apply


def _part(image: np.ndarray, rng: np.random.Generator, scale: Any, ratio: Any) -> tuple[slice, slice] | None:
    rows, columns = image.shape[:2]
    for _ in range(10):
        area = rows * columns * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < height < rows and 0 < width < columns:
            top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
            return slice(top, top + height), slice(left, left + width)
    return None


def gaussian_blur(kernel_size: int = 23, sigma: Any = (0.1, 2.0), p: float = 1.0) -> HostFn:
    """Blurs an image by a Gaussian, with probability `p`. The image is mirrored at its border.

    Args:
      kernel_size: The number of pixels of the kernel's side, odd.
      sigma: The range of the standard deviation in pixels, or the one number.
      p: The probability.
    """
    probability(p)
    if type(kernel_size) is not int or kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size={kernel_size!r} must be a positive odd number")
    low, high = bounds(_both(sigma), "sigma", 0.0, math.inf)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= p:
            return image
        size, wide = (kernel_size, kernel_size), rng.uniform(low, high)
        return restored(cv2.GaussianBlur(image, size, wide, borderType=cv2.BORDER_REFLECT_101), image)

    return apply


def gaussian_noise(sigma: Any = 0.1, p: float = 1.0) -> HostFn:
    """Adds noise to each number of an image, with probability `p`.

    Args:
      sigma: The standard deviation for pixels in [0, 1], one number or a range from which is drawn for each image.
      p: The probability.
    """
    probability(p)
    low, high = bounds(_both(sigma), "sigma", 0.0, 1.0, zero=True)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= p:
            return image
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(255 * rng.uniform(low, high))
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)

    return apply


def _both(given: Any) -> Any:
    return (given, given) if isinstance(given, int | float) and not isinstance(given, bool) else given
