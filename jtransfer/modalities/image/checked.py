"""Checks of the arguments of transforms."""

from typing import Any

from jtransfer.core.errors import InputError


def probability(p: Any) -> None:
    """Raises InputError where `p` is no probability."""
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise InputError(f"p={p!r} must be between 0 and 1")


def bounds(given: Any, name: str, least: float, most: float, zero: bool = False) -> tuple[float, float]:
    """Returns a pair of numbers that grow, above `least` (or from it on, with `zero`) and up to `most`.

    Raises:
      InputError: They are none.
    """
    try:
        low, high = given
        good = (least <= low if zero else least < low) and low <= high <= most
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(
            f"{name}={given!r} must be (low, high) with {least:g} {'<=' if zero else '<'} low <= high <= {most:g}"
        )
    return low, high


def symmetric(given: Any, name: str, most: float = 360.0) -> tuple[float, float]:
    """Returns a pair of numbers that grow, between `-most` and `most`; one number stands for both directions.

    Raises:
      InputError: They are none.
    """
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = (-abs(given), abs(given))
    return bounds(given, name, -most, most, zero=True)
