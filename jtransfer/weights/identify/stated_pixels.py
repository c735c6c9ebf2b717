"""How images are prepared by the word of another library's file, in the form of a model's `preprocessing`."""

from collections.abc import Iterable, Sequence
from typing import Any

from jtransfer.core.image_size import shortest

_METHODS = ("nearest", "lanczos", "bilinear", "bicubic", "area", "hamming")  # as Pillow numbers them
RESAMPLE = {
    **{str(number): name for number, name in enumerate(_METHODS)},
    **{name: name for name in _METHODS},
    "box": "area",
}
"""What libraries call a method of resizing → what it is called here."""


class Unreadable(ValueError):
    """A file says of images what no transform here does; the text says what that is."""


def call(name: str, *args: Any, **named: Any) -> str:
    """Returns a call of a transform as text."""
    return f"{name}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in named.items())])})"


def stated(
    mean: Iterable[float],
    std: Iterable[float],
    crop: float,
    method: str,
    calls: Sequence[str],
    size: tuple[int, int] | None,
) -> dict[str, Any]:
    """Returns a `preprocessing`: the fields of `Pixels`, and the size of the result, if it is the same for all images.

    Args:
      mean, std, crop: as in `Pixels`.
      method: the interpolation.
      calls: the calls of the transform.
      size: (height, width) of the result; None where it depends on the image.

    Raises:
      ValueError: a standard deviation is not positive.
    """
    fields = {"mean": tuple(mean), "std": tuple(std)}
    low = {"mean": -1e9, "std": 1e-9}
    if not all(low[key] < value < 1e9 for key, values in fields.items() for value in values):
        raise ValueError(f"mean={fields['mean']}, std={fields['std']}")
    fields |= {"crop": crop, "interpolation": method, "transform": "|".join(calls)}
    return fields if size is None else fields | {"size": shortest(size)}


def floats(values: Any) -> tuple[float, ...]:
    """Returns one number, or several, as a tuple. Raises Unreadable if it is something else."""
    given = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not given or not all(type(value) in (int, float) for value in given):
        raise Unreadable(f"{given!r:.80} in place of numbers")
    return tuple(map(float, given))
