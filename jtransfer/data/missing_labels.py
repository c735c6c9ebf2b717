"""Labels that are missing: which values mean so, and what becomes of their rows."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.data.label_items import Item, Pieces, items

POLICIES = ("stop", "drop", "keep")
_SECRET, _WHOLE = -1, re.compile(r"[-+]?\d+")
_SPELLINGS = frozenset(  # those that pandas reads as missing, but for nan
    (
        *("", "#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "<NA>", "N/A", "n/a", "NA"),
        *("NULL", "null", "None"),
    )
)


class Found(NamedTuple):
    """The labels that are there.

    Attributes:
      items: Split → its labels, each with the place where it stands.
      rows: Split → the numbers of their rows, int64 [N]; None if no label of the data set is missing.
      notes: What is told of the others.
    """

    items: dict[str, list[Item]]
    rows: dict[str, np.ndarray] | None
    notes: list[str]


def is_missing(value: Any) -> bool:
    """Returns whether a value means that there is no label: None, NaN, blanks, or a word that pandas takes for it."""
    if isinstance(value, str):
        word = value.strip()
        return word in _SPELLINGS or word.lower() in ("nan", "-nan")
    return value is None or (isinstance(value, float) and value != value)


def is_secret(columns: Mapping[str, Pieces], kind: str, named: bool) -> Callable[[Any], bool]:
    """Returns a function that says of a label whether it is a -1 that stands for none.

    It does where all others are whole numbers from 0 on, as those of classes are: test sets whose labels are kept
    secret have it.

    Args:
      columns: Split → the values of the column.
      kind: The kind of labels that is asked for; "" where it is guessed.
      named: Whether the file names the classes that the numbers stand for.
    """
    distinct = set()
    for pieces in columns.values() if kind in ("", "class") else ():
        for values, _ in pieces:
            if any(isinstance(value, list | dict | np.ndarray) for value in values):
                return lambda value: False
            distinct.update(values)
    numbers = [_whole(value, kind) for value in distinct if not is_missing(value)]
    whole = {number for number in numbers if number is not None}
    others = whole - {_SECRET}
    least = min(others, default=-1)
    if None in numbers or _SECRET not in whole or least < 0 or (least > 0 and not named):
        return lambda value: False
    return lambda value: _whole(value, kind) == _SECRET


def _whole(value: Any, kind: str) -> int | None:
    """The whole number that a value is, if it is one."""
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value.strip()) else None
    if isinstance(value, float):
        return int(value) if kind == "class" and value.is_integer() else None
    return None if isinstance(value, bool) or not isinstance(value, int) else value


def present(
    columns: Mapping[str, Mapping[str, Pieces]],
    policy: str,
    names: Collection[str] = (),
    secret: Callable[[Any], bool] = lambda value: False,
) -> dict[str, Found]:
    """Returns the labels of columns that are there, with the same rows in all columns.

    Args:
      columns: Column → split → its values.
      policy: "stop" refuses a missing label; "drop" leaves its row out; "keep" takes words such as None, which may be
        the name of a class, as they are.
      names: Words that are never missing, for they are names of classes.
      secret: Whether a value that is there stands for none (`is_secret`); where words are kept, it is not asked.

    Raises:
      InputError: A label is missing, and the policy is "stop"; or the policy is unknown.
    """
    if policy not in POLICIES:
        raise unknown("data.missing", policy, POLICIES)
    whole = {name: {split: items(pieces) for split, pieces in splits.items()} for name, splits in columns.items()}

    def gone(value: Any) -> bool:
        if policy != "keep" and secret(value):
            return True
        return not (isinstance(value, str) and (value in names or policy == "keep")) and is_missing(value)

    wrong = {name: [one for some in splits.values() for one in some if gone(one[0])] for name, splits in whole.items()}
    first = next((name for name, some in wrong.items() if some), None)
    if first is None:
        return {name: Found(splits, None, []) for name, splits in whole.items()}
    total = sum(map(len, whole[first].values()))
    value, where, i = wrong[first][0]
    count = f"{len(wrong[first]):,} of {total:,} labels {first!r} are missing"
    if policy != "drop":
        if secret(value):
            raise InputError(
                f"{where(i)}: the label -1 of {first!r} stands for none: {count}; set data.missing='drop' to leave "
                "their rows out, or task='regress' if they are numbers to predict; classes are counted from 0"
            )
        blank = value is None or not str(value).strip()
        what = f"{first!r} is empty" if blank else f"{value} of {first!r} stands for none"
        also = "" if blank or not isinstance(value, str) else f", or 'keep' if {value!r} is the name of a class"
        raise InputError(
            f"{where(i)}: the label {what}: {count}; fill them in, or set data.missing='drop' to leave their rows out"
            f"{also}"
        )
    rows = {}
    for split in whole[first]:
        table = zip(*(splits[split] for splits in whole.values()), strict=True)
        kept = [k for k, row in enumerate(table) if not any(gone(value) for value, _, _ in row)]
        rows[split] = np.array(kept, np.int64)
    left = total - sum(map(len, rows.values()))
    count += " (-1 stands for none)" if any(secret(value) for value, _, _ in wrong[first]) else ""
    notes = [f"{count}; {left:,} of {total:,} rows are left out, as data.missing='drop' says"]
    return {
        name: Found({s: [some[k] for k in rows[s].tolist()] for s, some in splits.items()}, rows, notes)
        for name, splits in whole.items()
    }
