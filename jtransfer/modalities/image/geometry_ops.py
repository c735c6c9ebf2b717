"""Transforms that move the pixels of one image on the host, as in `image_ops`. Pillow interpolates."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities.image.checked import bounds, probability, symmetric
from jtransfer.modalities.image.colour_ops import HostFn
from jtransfer.modalities.image.resize_ops import restored

METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def flip_lr(p: float = 0.5) -> HostFn:
    """Flips an image from left to right with probability `p`."""
    probability(p)
    return lambda image, rng: restored(cv2.flip(image, 1), image) if rng.random() < p else image


def flip_ud(p: float = 0.5) -> HostFn:
    """Flips an image upside down with probability `p`."""
    probability(p)
    return lambda image, rng: restored(cv2.flip(image, 0), image) if rng.random() < p else image


def random_rotation(degrees: Any, method: str = "bilinear", fill: int = 0) -> HostFn:
    """Turns an image about its centre; its size stays.

    Args:
      degrees: The range of the angle, anticlockwise, or one number for both directions.
      method: The interpolation, "nearest", "bilinear" or "bicubic".
      fill: Of the pixels that come in from outside, 0 to 255.
    """
    return random_affine(degrees, method=method, fill=fill)


def random_affine(
    degrees: Any = 0,
    translate: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] = (1.0, 1.0),
    shear: Any = 0,
    method: str = "bilinear",
    fill: int = 0,
) -> HostFn:
    """Turns, moves, scales and shears an image about its centre; its size stays.

    Args:
      degrees: The range of the angle, anticlockwise where nothing else is done, or one number for both directions.
      translate: The greatest moves, as fractions of the width and of the height.
      scale: The range of the scale.
      shear: The range of the horizontal shear in degrees, or one number for both directions.
      method: The interpolation, "nearest", "bilinear" or "bicubic".
      fill: Of the pixels that come in from outside, 0 to 255.
    """
    angles, shears = symmetric(degrees, "degrees"), symmetric(shear, "shear", 89.0)
    bounds(scale, "scale", 0.0, math.inf)
    if not isinstance(translate, tuple | list) or len(translate) != 2 or not all(0 <= part <= 1 for part in translate):
        raise InputError(f"translate={translate!r} must be two fractions, of the width and of the height")
    move = mover(method, fill)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        angle = rng.uniform(*angles)
        shift = [round(rng.uniform(-1, 1) * part * side) for part, side in zip(translate, (width, height), strict=True)]
        matrix = inverse_affine((width / 2, height / 2), -angle, shift, rng.uniform(*scale), rng.uniform(*shears))
        return move(image, Image.Transform.AFFINE, matrix)

    return apply


def random_perspective(distortion: float = 0.5, p: float = 0.5, method: str = "bilinear", fill: int = 0) -> HostFn:
    """Looks at an image from aside, with probability `p`: its corners move inwards by random amounts.

    Args:
      distortion: The greatest move of a corner, as a fraction of half of the width and of the height, 0 to 1.
      p: The probability.
      method: The interpolation, "nearest", "bilinear" or "bicubic".
      fill: Of the pixels that come in from outside, 0 to 255.
    """
    probability(p)
    bounds((0, distortion), "distortion", 0.0, 1.0, zero=True)
    move = mover(method, fill)

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= p:
            return image
        height, width = image.shape[:2]
        corners = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], float)
        inwards = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
        most = int(distortion * (width // 2)), int(distortion * (height // 2))
        moved = corners + inwards * rng.integers(0, np.array(most) + 1, size=(4, 2))
        return move(image, Image.Transform.PERSPECTIVE, perspective(corners, moved))

    return apply


def inverse_affine(
    centre: tuple[float, float], angle: float, shift: Sequence[float], scale: float, shear: float
) -> tuple[float, ...]:
    """Returns the map from the pixels of a result to those of the image, the six numbers that Pillow takes.

    Args:
      centre: What the image is turned about, x and y.
      angle: In degrees, clockwise.
      shift: By which the result is moved, x and y.
      scale: The scale.
      shear: In degrees.
    """
    turn, lean = math.radians(angle), math.tan(math.radians(shear))
    forward = np.array([[math.cos(turn), -math.cos(turn) * lean - math.sin(turn)], [math.sin(turn), 0.0]])
    forward[1, 1] = -math.sin(turn) * lean + math.cos(turn)
    back = np.linalg.inv(forward * scale)
    offset = np.asarray(centre) - back @ (np.asarray(centre) + np.asarray(shift))
    return (*back[0], offset[0], *back[1], offset[1])


def perspective(corners: np.ndarray, moved: np.ndarray) -> tuple[float, ...]:
    """Returns the map from the pixels of a result to those of the image, the eight numbers that Pillow takes.

    Args:
      corners: Four points of the image, [4, 2], x and y.
      moved: Where they are in the result.
    """
    rows = []
    for (x, y), (u, v) in zip(corners, moved, strict=True):
        rows += [(u, v, 1, 0, 0, 0, -x * u, -x * v), (0, 0, 0, u, v, 1, -y * u, -y * v)]
    return tuple(np.linalg.solve(np.array(rows), corners.ravel()))


def mover(method: str, fill: int) -> Callable[[np.ndarray, Image.Transform, Sequence[float]], np.ndarray]:
    """Returns a function that moves the pixels of an image of any number of channels, as a map of Pillow says.

    Raises:
      InputError: There is no such method, or `fill` is no value of a pixel.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if type(fill) is not int or not 0 <= fill <= 255:
        raise InputError(f"fill={fill!r} must be 0 to 255")

    def move(image: np.ndarray, kind: Image.Transform, numbers: Sequence[float]) -> np.ndarray:
        if image.shape[2] not in (1, 3):
            return np.concatenate([move(band[..., None], kind, numbers) for band in np.moveaxis(image, 2, 0)], 2)
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        colour = fill if image.shape[2] == 1 else (fill,) * 3
        moved = picture.transform(picture.size, kind, tuple(numbers), METHODS[method], fillcolor=colour)
        return restored(np.asarray(moved), image)

    return move
