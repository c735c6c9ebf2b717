"""Labels as a file holds them, each with the place where it stands."""

import decimal
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Where = Callable[[int], str]
Item = tuple[Any, Where, int]  # a label, and where it stands
Pieces = Sequence[tuple[list, Where]]  # the labels of each file of a split


def items(pieces: Pieces) -> list[Item]:
    """Returns the labels of the files of a split, one after the other, as plain values of Python.

    Texts are in Unicode's composed form, in which all systems write them alike.
    """
    return [(_plain(value), where, i) for values, where in pieces for i, value in enumerate(values)]


def flat(every: Iterable[Item]) -> list[Item]:
    """Returns the elements of labels that are lists, each with the place of its list."""
    return [(item, where, i) for value, where, i in every for item in value]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    if isinstance(value, decimal.Decimal):
        exponent = value.as_tuple().exponent
        return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
