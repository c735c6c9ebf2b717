"""Makes 8 bits of images that are not: what values they go from and to is known by their type, or is stated.

uint8 and bool are known, and so is uint16, of which the high byte is kept. What other images hold is stated in
`config.data.range`, as (0, 1) or (0, 4095), which images of 16 bits obey too: the first number becomes 0, the second
255, and what lies outside is cut off.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from jtransfer.core.errors import InputError

_USUAL = ((0, 1), (0, 255), (0, 1023), (0, 4095), (0, 16383), (0, 65535), (-1, 1))
_BLOCK = 1 << 20  # values
LOOKED_AT = 32  # images of a data set
_TWELVE_BITS = 4095


def to_uint8(image: np.ndarray, limits: Sequence[float] = ()) -> np.ndarray:
    """Returns an image with values from 0 to 255.

    Args:
      image: An array of numbers of any shape.
      limits: The values that become 0 and 255; empty where the type says them. They do not count for uint8 and bool.

    Returns:
      uint8, of the same shape.

    Raises:
      InputError: The limits are needed and not given, or a value is not finite.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == bool:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint16 and not len(limits):
        return by_rows(image, lambda rows: rows >> 8)
    if not len(limits):
        raise InputError(f"images of {image.dtype} may have any range; {_advice([image])}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError("an image holds values that are not finite; fill them")
    low, high = limits
    return by_rows(image, lambda x: np.rint(((x.astype(np.float64) - low) * (255 / (high - low))).clip(0, 255)))


def by_rows(
    image: np.ndarray, change: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Returns what a function makes of an image, some rows at a time, so that its intermediate results stay small.

    Args:
      image: An array [H, …].
      change: A function from rows [h, …] to rows of values from 0 to 255.
      shape: The shape of the result; by default that of the image.

    Returns:
      uint8 [H, …].
    """
    out = np.empty(image.shape if shape is None else shape, np.uint8)
    for rows in parts(image.shape):
        out[rows] = change(image[rows])
    return out


def parts(shape: Sequence[int]) -> Iterator[slice]:
    """Yields slices of an image's rows, of a few megabytes each.

    Args:
      shape: Of the image, [H, …].
    """
    step = max(1, _BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def check_limits(limits: Sequence[float]) -> None:
    """Checks `config.data.range`.

    Raises:
      InputError: It is no pair of numbers, or the first is not below the second.
    """
    numbers = all(isinstance(limit, int | float) and not isinstance(limit, bool) for limit in limits)
    if len(limits) and not (len(limits) == 2 and numbers and limits[0] < limits[1]):
        raise InputError(f"data.range={limits!r}: give the lowest and the highest value of the images, such as (0, 1)")


def check(images: Iterable[np.ndarray], limits: Sequence[float], where: str, shapes: str = "") -> str:
    """Checks on some of the images of a data set that their range is known.

    Args:
      images: Arrays as they are in the data set, of any shape; those of 8 bits say nothing.
      limits: `config.data.range`.
      where: The data set, for errors.
      shapes: The shapes that images may have, for errors.

    Returns:
      A line that tells what was made of them; "" if there is nothing to tell.

    Raises:
      InputError: The range is not known.
    """
    deep = [image for image in images if image.dtype not in (np.uint8, bool) and image.size]
    if not deep:
        return ""
    low, high = min(image.min() for image in deep), max(image.max() for image in deep)
    kind = deep[0].dtype
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{where}: images of {kind} hold values that are not finite; fill them")
    if len(limits):
        outside = low < limits[0] or high > limits[1]
        cut = f"; what lies outside, from {low:g} to {high:g}, is cut off" if outside else ""
        return f"{where}: images of {kind} are read with values from {limits[0]:g} to {limits[1]:g}{cut}"
    if any(image.dtype != np.uint16 for image in deep):
        raise InputError(
            f"{where}: images must be uint8{shapes}, or their range known; these are {kind}, from {low:g} to {high:g}: "
            f"{_advice(deep)}"
        )
    if high <= _TWELVE_BITS:
        raise InputError(
            f"{where}: images of 16 bits hold no value above {high}, and would be nearly black; {_advice(deep)}, or "
            "data.range=(0, 65535) if they are that dark"
        )
    return f"{where}: images of 16 bits are read with values from 0 to 65535; the largest is {high}"


def _advice(images: Sequence[np.ndarray]) -> str:
    low, high = min(image.min() for image in images), max(image.max() for image in images)
    usual = next(((a, b) for a, b in _USUAL if a <= low and high <= b), (float(low), float(high)))
    return f"set what is black and what is white, such as data.range=({usual[0]:g}, {usual[1]:g})"
