"""Several labels in one cell of a table: lists as pandas, NumPy and JSON write them, and words with marks between."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.data.label_items import Item

_MARKS = ("|", ";", "\n", "\t", ",", " ")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_ARRAY = re.compile(r"(?:np\.|numpy\.)?array\((.*?)(?:,\s*dtype=[^)]*)?\)|(?:frozen)?set\((.*)\)", re.DOTALL)
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ELEMENT = re.compile(rf"\s*(?:({_QUOTED})|([^\s,'\"\[\](){{}}]+))\s*", re.DOTALL)
_WHOLE, _DECIMAL = re.compile(r"[-+]?\d+"), re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHOLES = re.compile(r"\s*\d+(\s*[|;,]\s*\d+|\s+\d+)+\s*[|;,]?\s*")
_CONSTANTS = {"True": True, "False": False, "true": True, "false": False}


class Split(NamedTuple):
    """Cells as lists.

    Attributes:
      items: The labels, each a list.
      how: What was done, for the user.
    """

    items: list[Item]
    how: str


def are_lists(every: Sequence[Item]) -> bool:
    """Returns whether most of the labels are texts in brackets, as of a list, though some may be blank."""
    words = [value.strip() for value, _, _ in every if isinstance(value, str) and value.strip()]
    return bool(words) and sum(map(_bracketed, words)) > len(words) / 2


def read_lists(every: Sequence[Item]) -> Split:
    """Returns labels in brackets as lists.

    Raises:
      InputError: A label is no such list.
    """
    return Split([(_list(item), *item[1:]) for item in every], "lists written as text")


def split(every: Sequence[Item]) -> Split:
    """Returns words as lists: split where one of the usual marks stands, or each a list of one.

    The mark is the first of |, ;, line breaks, tabs, commas and blanks that a label has. Blanks are a mark only between
    whole numbers, or if fewer different words than different labels come of it.
    """
    words = [value for value, _, _ in every]
    mark = next((mark for mark in _MARKS if any(mark in word.strip() for word in words)), None)
    if mark == " " and not _of_blanks(words):
        mark = None
    if mark is None:
        single = [([word.strip()] if word.strip() else [], where, i) for word, where, i in every]
        return Split(single, "each cell names one; several would be written a|b")
    parts = [([part.strip() for part in word.split(mark) if part.strip()], where, i) for word, where, i in every]
    return Split(_numbered(parts), f"split at {mark!r}")


def alone(every: Sequence[Item]) -> Split:
    """Returns labels as lists of one each, where whole numbers, such as 2.0, are classes."""
    whole = [(int(v) if isinstance(v, float) and v.is_integer() else v, where, i) for v, where, i in every]
    return Split([([value], where, i) for value, where, i in whole], "")


def as_lists(
    every: list[Item], name: str, wanted: str, class_names: Sequence[str] | None
) -> tuple[list[Item], bool, str]:
    """Returns the labels, as lists or not; whether they are lists; and what was done to make them so.

    Args:
      every: The labels.
      name: The name of their column.
      wanted: The kind that they are to be, as in `Source.label_kind`; "" if none is asked for.
      class_names: The names of the classes, where the file has them.

    Raises:
      InputError: Some are lists and others are not, or a list is to be one number.
    """
    how = ""
    if not any(isinstance(value, list) for value, _, _ in every):
        if are_lists(every) and class_names is None:
            every, how = read_lists(every)
        elif wanted == "classes":
            words = all(isinstance(value, str) for value, _, _ in every)
            every, how = split(every) if words else alone(every)
    listed = isinstance(every[0][0], list)
    for value, where, i in every:
        if isinstance(value, list) != listed:
            raise InputError(f"{where(i)}: the label {value!r:.60} is {'no' if listed else 'a'} list, unlike the first")
    if listed and wanted in ("class", "number") and all(len(value) == 1 for value, _, _ in every):
        return [(value[0], where, i) for value, where, i in every], False, how and f"{how}, of one element each"
    if listed and wanted == "number":
        value, where, i = next(item for item in every if len(item[0]) != 1)
        raise InputError(f"{where(i)}: the label {value!r:.60} of {name!r} is a list, and no number to predict")
    return every, listed, how


def check(every: Sequence[Item], name: str, wanted: str) -> None:
    """Checks that no cell seems to hold several labels, unless the config says what they are.

    Raises:
      InputError: A cell does.
    """
    odd = None if wanted else suspicious(every)
    if odd:
        value, where, i = odd
        raise InputError(
            f"{where(i)}: the label {value!r:.60} of {name!r} seems to be several labels in one cell; set "
            "task='multi_label' if they are, or task='classify' if each such text is a class of its own (a decimal "
            "number has a point, no comma)"
        )


def suspicious(every: Sequence[Item]) -> Item | None:
    """Returns the first label that seems to be several ones in one cell: whole numbers with a mark between them, or
    words with a mark between them of which one stands in another cell, too; None if there is none."""
    words = {value: (value, where, i) for value, where, i in reversed(every) if isinstance(value, str)}
    found = [item for value, item in words.items() if _WHOLES.fullmatch(value)]
    if found:
        return found[-1]
    for mark in _MARKS[:-1]:
        cells: dict[str, set[str]] = {}
        for word in words:
            for part in word.split(mark):
                cells.setdefault(part.strip(), set()).add(word)
        several = [item for word, item in words.items() if mark in word.strip() and _recurs(word.split(mark), cells)]
        if several:
            return several[-1]
    return None


def _numbered(lists: list[Item]) -> list[Item]:
    """Lists of words as lists of whole numbers, if all of them are some, such as 2 or 2.0."""
    words = [word for value, _, _ in lists for word in value]
    if not all(_DECIMAL.fullmatch(word) and float(word).is_integer() for word in words):
        return lists
    return [([int(float(word)) for word in value], where, i) for value, where, i in lists]


def _of_blanks(words: Sequence[str]) -> bool:
    parts = {part for word in words for part in word.split()}
    return all(map(_WHOLE.fullmatch, parts)) or len(parts) < len({word.strip() for word in words})


def _recurs(parts: Sequence[str], cells: dict[str, set[str]]) -> bool:
    return any(part.strip() and len(cells[part.strip()]) > 1 for part in parts)


def _bracketed(word: str) -> bool:
    word = _unwrapped(word)
    return len(word) > 1 and _BRACKETS.get(word[0]) == word[-1]


def _unwrapped(word: str) -> str:
    array = _ARRAY.fullmatch(word)
    return (array[1] or array[2] or "").strip() if array else word


def _list(item: Item) -> list[Any]:
    """The elements of a list as Python, JSON or NumPy writes it, which has blanks in place of commas."""
    value, where, i = item
    word = _unwrapped(value.strip()) if isinstance(value, str) else value
    if isinstance(word, str) and not word:
        return []
    if not isinstance(word, str) or not _bracketed(word):
        raise InputError(f"{where(i)}: the label {value!r:.60} is no list, unlike others")
    try:
        parsed = json.loads(word)
        if isinstance(parsed, list) and not any(isinstance(one, list | dict) or one is None for one in parsed):
            return parsed
    except ValueError:
        pass
    inside, at, found = word[1:-1].strip(), 0, []
    if re.search(r"[\[\](){}:]", re.sub(_QUOTED, "", inside)):
        raise InputError(f"{where(i)}: the label {value!r:.60} can't be read as a list of words or numbers")
    if "..." in inside:
        raise InputError(f"{where(i)}: the label {value!r:.60} was cut off when it was written; write the whole list")
    if "'" not in inside and '"' not in inside and "," in inside:
        return [_element(part.strip()) for part in inside.split(",") if part.strip()]
    while at < len(inside):
        element = _ELEMENT.match(inside, at)
        if not element:
            raise InputError(f"{where(i)}: the label {value!r:.60} can't be read as a list of words or numbers")
        found.append(ast.literal_eval(element[1]) if element[1] else _element(element[2]))
        at = element.end()
        at += inside[at : at + 1] == ","
    return found


def _element(word: str) -> Any:
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _WHOLE.fullmatch(word):
        return int(word)
    return float(word) if _DECIMAL.fullmatch(word) else word
