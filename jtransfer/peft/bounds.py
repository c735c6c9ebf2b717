"""What the fields of a method may be."""

import math
from typing import Any

from jtransfer.core.errors import InputError

MOST = 4096  # a greater rank is a slip, unless a kernel has a side as long


def whole(name: str, value: Any, most: int | None = None) -> None:
    """Raises an InputError unless a field is a whole number from 1 on, up to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"adapters: {name}={value!r} must be at least 1, and a whole number")
    if most is not None and value > most:
        raise InputError(f"adapters: {name}={value} must be at most {most}")


def rank(value: Any, inputs: tuple[int, ...], outputs: tuple[int, ...], name: str = "rank") -> None:
    """Raises an InputError unless a field is a rank that a change of a kernel can have."""
    whole(name, value, max(MOST, math.prod(inputs), math.prod(outputs)))


def positive(name: str, value: Any) -> None:
    """Raises an InputError unless a field is a finite number above 0."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise InputError(f"adapters: {name}={value!r} must be a number above 0")


def rate(name: str, value: Any) -> None:
    """Raises an InputError unless a field is a rate of dropping."""
    if not _is_number(value) or not 0 <= value < 1:
        raise InputError(f"adapters: {name}={value!r} must be at least 0 and below 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
