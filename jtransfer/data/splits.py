"""Split expressions: `train`, `train[:90%]`, `test[100:200]`, `train[:10%]+train[90%:]`, `all`."""

import re
from collections.abc import Mapping

from jtransfer.core.errors import InputError

_PART = re.compile(r"\s*([\w-]+)\s*(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?\s*")


def select(split: str, sizes: Mapping[str, int], name: str) -> list[tuple[str, int, int]]:
    """What a split expression selects, as `(split name, start, stop)` with `stop` excluded.

    Bounds are numbers of examples or percents of the split, rounded to the nearest example as in TFDS; negative ones
    count from the end. `all` means all splits in order, unless one has that name.

    Args:
      split: the expression.
      sizes: how many examples each split of the data set has.
      name: the data set's name, for the error.

    Raises:
      InputError: not such an expression, an unknown split, a bound outside the split, or nothing is selected.
    """
    pieces = [piece for part in split.split("+") for piece in _part(part, sizes, f"{name}, split {split!r}")]
    if not pieces:
        raise InputError(f"{name}, split {split!r}: selects no example (splits: {_listed(sizes)})")
    return pieces


def _part(part: str, sizes: Mapping[str, int], where: str) -> list[tuple[str, int, int]]:
    found = _PART.fullmatch(part)
    if not found:
        raise InputError(f"{where}: write a split as 'train', 'train[:90%]' or 'train[100:200]+test'")
    split, first, last = found.groups()
    if split not in sizes and split != "all":
        raise InputError(f"{where}: there is no split {split!r}; splits: {_listed(sizes)}")
    members = [split] if split in sizes else list(sizes)
    total = sum(sizes[member] for member in members)
    start = 0 if first is None else _bound(first, total, where)
    stop = total if last is None else _bound(last, total, where)
    pieces, offset = [], 0
    for member in members:
        low, high = max(start - offset, 0), min(stop - offset, sizes[member])
        if low < high:
            pieces.append((member, low, high))
        offset += sizes[member]
    return pieces


def _bound(text: str, total: int, where: str) -> int:
    number = int(text.rstrip("%"))
    bound = round(total * number / 100) if text.endswith("%") else number
    if abs(bound) > total:
        raise InputError(f"{where}: the bound {text} lies outside the {total} examples")
    return bound + total if text.startswith("-") else bound


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} ({size})" for split, size in sizes.items())
