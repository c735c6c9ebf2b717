"""Parts of data sets, written as in TFDS: `train`, `train[:90%]`, `test[100:200]`, `train[:10%]+train[90%:]`, `all`."""

import re
from collections.abc import Mapping

from jtransfer.core.errors import InputError

_PART = re.compile(r"\s*([\w-]+)\s*(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?\s*")


def select(split: str, sizes: Mapping[str, int], name: str) -> list[tuple[str, int, int]]:
    """Returns the parts of a data set that an expression selects.

    Bounds are numbers of examples, or percentages of the split, which are rounded to the nearest example as in TFDS;
    negative ones count from the end. "all" means all splits in order, unless there is a split of that name.

    Args:
      split: The expression.
      sizes: Split → the number of its examples.
      name: The name of the data set, for errors.

    Returns:
      Triples (split, start, stop), where `stop` is excluded.

    Raises:
      InputError: It is no such expression, there is no such split, a bound lies outside of the split, or nothing is
        selected.
    """
    pieces = [piece for part in split.split("+") for piece in _part(part, sizes, f"{name}, split {split!r}")]
    if not pieces:
        raise InputError(f"{name}, split {split!r}: selects no example (splits: {_listed(sizes)})")
    return pieces


def _part(part: str, sizes: Mapping[str, int], where: str) -> list[tuple[str, int, int]]:
    parsed = _PART.fullmatch(part)
    if not parsed:
        raise InputError(f"{where}: write a split as 'train', 'train[:90%]' or 'train[100:200]+test'")
    split, first, last = parsed.groups()
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
