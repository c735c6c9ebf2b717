"""Transforms of the colours of one image on the host, as in `image_ops`."""

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.image.checked import probability

HostFn = Callable[[np.ndarray, Any], np.ndarray]
"""`(image, rng) -> image`, where the generator may be None if nothing is random."""


def color_jitter(
    brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0, p: float = 1.0
) -> HostFn:
    """Changes brightness, contrast, saturation and hue by random amounts, in random order, with probability `p`.

    Args:
      brightness: The image is blended with black by a factor from [max(0, 1 - x), 1 + x].
      contrast: The same with the mean of its grey.
      saturation: The same with its grey. Does nothing to images with one channel.
      hue: The hue is turned by up to this fraction of the circle, at most 0.5, either way. Does nothing to images with
        one channel.
      p: The probability.
    """
    probability(p)
    for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation), ("hue", hue)):
        if not 0 <= value <= (0.5 if name == "hue" else math.inf):
            raise InputError(f"{name}={value} must be 0 or more{', at most 0.5' if name == 'hue' else ''}")
    blends = [(_black, brightness), (_mean_grey, contrast), (_grey, saturation)]

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if p < 1 and rng.random() >= p:
            return image
        for which in rng.permutation(4).tolist():
            if which == 3:
                image = _turn_hue(image, rng.uniform(-hue, hue)) if hue else image
            elif blends[which][1]:
                anchor, x = blends[which]
                image = _blend(image, anchor(image), rng.uniform(max(0.0, 1 - x), 1 + x))
        return image

    return apply


def to_gray() -> HostFn:
    """Turns an image grey, by its luma (Rec. 601); the number of channels stays."""
    return lambda image, rng: cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2RGB) if image.shape[2] == 3 else image


def random_gray(p: float = 0.1) -> HostFn:
    """Turns an image grey, as `to_gray`, with probability `p`."""
    probability(p)
    grey = to_gray()
    return lambda image, rng: grey(image, rng) if rng.random() < p else image


def random_solarize(threshold: int = 128, p: float = 0.5) -> HostFn:
    """Inverts all values from `threshold` on, with probability `p`."""
    probability(p)
    if type(threshold) is not int or not 0 <= threshold <= 256:
        raise InputError(f"threshold={threshold!r} must be a whole number, 0 to 256")
    return lambda image, rng: np.where(image < threshold, image, 255 - image) if rng.random() < p else image


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
