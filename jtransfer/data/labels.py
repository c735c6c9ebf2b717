"""Turns the labels that a file holds into targets: classes, numbers, several classes, or a class for each word."""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source

Where = Callable[[int], str]
Item = tuple[Any, Where, int]  # a label, and where it stands
Pieces = Sequence[tuple[list, Where]]  # the labels of each file of a split

_WHOLE, _NUMBER = re.compile(r"-?\d+"), re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_ANSWERS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_MOST = 1_000_000  # classes
_NONE = (-1, -100)


class Labels(NamedTuple):
    """The labels of all splits of a data set.

    Attributes:
      kind: The kind of the labels, as in `Source.label_kind`.
      class_names: The names of the classes in order; for numbers, the name of their column.
      values: Split → the labels of its examples: int32 [N] (classes), float32 [N] (numbers), float32 [N, C] (several
        classes), or one list of classes for each example (tags).
    """

    kind: str
    class_names: list[str]
    values: dict[str, Any]


def encode(
    columns: Mapping[str, Pieces], name: str, class_names: Sequence[str] | None = None, tags: bool = False
) -> Labels:
    """Turns a column of labels into targets, with the same classes in all splits.

    What the column holds decides the kind. Words are classes, in sorted order; whole numbers are the classes 0, 1, …;
    other numbers are kept as numbers for regression. Words count as numbers if each of them is one. A list of words or
    whole numbers names the classes that an example has; a list of decimal numbers or booleans has one value for each
    class. With `tags`, a list has the class of each word, where -1 and -100 mean that there is none.

    Args:
      columns: Split → the values of the column, in pieces, each with a function from a row to where it stands in a
        file.
      name: The name of the column.
      class_names: The names of the classes in order, where the file states them.
      tags: Whether the lists are for words.

    Returns:
      The labels of all splits.

    Raises:
      InputError: A label is missing, of another kind than the others, or none of the classes; the message names its
        line.
    """
    every = [item for pieces in columns.values() for item in _items(pieces)]
    listed = _check(every, name)
    if tags and not listed:
        raise InputError(f"{every[0][1](0)}: the label {name!r} must be a list with one label for each word")
    if tags:
        kind, (convert, names) = "tags", _tags(every, name, class_names)
    elif listed:
        kind, (convert, names) = "classes", _classes(every, name, class_names)
    else:
        kind, convert, names = _scalar(every, name, class_names)
    values = {
        split: [_converted(convert, item, listed) for item in _items(pieces)] for split, pieces in columns.items()
    }
    dtype = np.int32 if kind == "class" else np.float32
    return Labels(kind, names, {s: v if kind == "tags" else np.array(v, dtype) for s, v in values.items()})


def several(columns: Mapping[str, Mapping[str, Pieces]]) -> Labels:
    """Turns several columns of 0 and 1 into targets for which an example may have any number of classes.

    Args:
      columns: Column → split → the values, as for `encode`. The columns are the classes.

    Returns:
      Labels of the kind "classes".

    Raises:
      InputError: A value is none of 0, 1, false and true.
    """
    values: dict[str, list] = {}
    for name, splits in columns.items():
        for split, pieces in splits.items():
            values.setdefault(split, []).append([_answer(item, name) for item in _items(pieces)])
    return Labels("classes", list(columns), {s: np.array(v, np.float32).T.copy() for s, v in values.items()})


def labelled(size: int, read: Callable[[int], dict], labels: Labels, values: Any, where: Where) -> Source:
    """Makes a source of examples and their labels.

    Args:
      size: The number of examples.
      read: A function from the number of an example to what it holds beside its label.
      labels: The labels of the data set.
      values: The labels of these examples.
      where: A function from the number of an example to where it stands, for errors.

    Returns:
      The source. Reading an example raises InputError if it has more or fewer words than labels.
    """
    plain = {"class": int, "number": float}.get(labels.kind, lambda value: value)

    def example(i: int) -> dict:
        row = {**read(i), "label": plain(values[i])}
        if labels.kind == "tags" and len(row["tokens"]) != len(row["label"]):
            raise InputError(f"{where(i)}: has {len(row['tokens'])} words but {len(row['label'])} labels")
        return row

    return Source(size, example, labels.class_names, lambda start, stop: values[start:stop], labels.kind)


def _answer(item: Item, name: str) -> int:
    value, where, i = item
    if str(value).lower() not in _ANSWERS:
        raise InputError(f"{where(i)}: {name!r} must be 0 or 1 where it is one of several labels, not {value!r:.60}")
    return _ANSWERS[str(value).lower()]


def _items(pieces: Pieces) -> list[Item]:
    return [(_composed(value), where, i) for values, where in pieces for i, value in enumerate(values)]


def _composed(value: Any) -> Any:
    """A label with its letters in Unicode's composed form, in which all systems write them alike."""
    if isinstance(value, list):
        return [_composed(item) for item in value]
    return unicodedata.normalize("NFC", value) if isinstance(value, str) and not value.isascii() else value


def _flat(every: Sequence[Item]) -> list[Item]:
    return [(item, where, i) for value, where, i in every for item in value]


def _check(every: Sequence[Item], name: str) -> bool:
    """Whether the labels are lists: all of them, or none."""
    listed = isinstance(every[0][0], list)
    for value, where, i in every:
        if value is None or value == "":
            raise InputError(f"{where(i)}: the label {name!r} is empty; fill it, or remove the row")
        if isinstance(value, list) != listed:
            raise InputError(f"{where(i)}: the label {value!r:.60} is {'no' if listed else 'a'} list, unlike the first")
    return listed


def _converted(convert: Callable, item: Item, listed: bool) -> Any:
    value, where, i = item
    if not listed:
        return convert(value)
    try:
        return convert(value)
    except ValueError as error:
        raise InputError(f"{where(i)}: the label {value!r:.60} {error}") from None


def _tags(every: Sequence[Item], name: str, class_names: Sequence[str] | None) -> tuple[Callable, list[str]]:
    kind, number, names = _scalar(_flat(every), name, class_names, _NONE)
    if kind != "class":
        raise InputError(f"{every[0][1](0)}: the labels {name!r} of words must be classes, not decimal numbers")
    return lambda value: [number(item) for item in value], names


def _classes(every: Sequence[Item], name: str, class_names: Sequence[str] | None) -> tuple[Callable, list[str]]:
    items = _flat(every)
    kind, number, names = _scalar(items, name, class_names)
    if kind == "number" or (items and isinstance(items[0][0], bool)):
        size = len(every[0][0])
        return lambda value: _vector(value, size), list(class_names or map(str, range(size)))
    return lambda value: _chosen([number(item) for item in value], len(names)), names


def _vector(value: list, size: int) -> np.ndarray:
    if len(value) != size or not all(0 <= item <= 1 for item in value):
        raise ValueError(f"must be {size} numbers from 0 to 1")
    return np.array(value, np.float32)


def _chosen(numbers: list[int], num_classes: int) -> np.ndarray:
    if len(set(numbers)) < len(numbers):
        raise ValueError("names a class twice; for one number a class write 0.0 and 1.0")
    vector = np.zeros(num_classes, np.float32)
    vector[numbers] = 1
    return vector


def _scalar(
    items: Sequence[Item], name: str, class_names: Sequence[str] | None, ignored: tuple[int, ...] = ()
) -> tuple[str, Callable, list[str]]:
    """Kind of single labels, the function from a label to its number, and the names of the classes."""
    read = _reading({value for value, _, _ in items if isinstance(value, str)}, class_names)
    items = [(read(value), where, i) for value, where, i in items]
    types = {type(value) for value, _, _ in items}
    if types == {bool}:
        return "class", int, list(class_names or ("false", "true"))
    if types == {str}:
        return "class", *_words(items, class_names)
    if types <= {int}:
        number, names = _whole(items, name, class_names, ignored)
        return "class", lambda value: number(read(value)), names
    for value, where, i in items:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(
                f"{where(i)}: the label {value!r:.60} of {name!r} is unlike others; all must be words, or all numbers"
            )
    return "number", lambda value: float(read(value)), [name]


def _reading(words: set[str], class_names: Sequence[str] | None) -> Callable:
    """What makes numbers of words if all of them are numbers."""
    if class_names is None and words:
        for pattern, kind in ((_WHOLE, int), (_NUMBER, float)):
            if all(pattern.fullmatch(word) for word in words):
                return lambda value: kind(value) if isinstance(value, str) else value
    return lambda value: value


def _words(items: Sequence[Item], class_names: Sequence[str] | None) -> tuple[Callable, list[str]]:
    names = list(class_names or sorted({value for value, _, _ in items}))
    number = {word: i for i, word in enumerate(names)}
    for value, where, i in items:
        if value not in number:
            raise InputError(f"{where(i)}: the label {value!r:.60} is none of the classes {', '.join(names[:10])}")
    return number.__getitem__, names


def _whole(
    items: Sequence[Item], name: str, class_names: Sequence[str] | None, ignored: tuple[int, ...]
) -> tuple[Callable, list[str]]:
    largest = max((value for value, _, _ in items), default=0)
    if largest >= _MOST:
        raise InputError(
            f"the labels {name!r} go up to {largest}: too many classes; numbers to predict are written 3.0"
        )
    names = list(class_names or map(str, range(max(largest, 0) + 1)))
    for value, where, i in items:
        if value not in ignored and not 0 <= value < len(names):
            hint = "; -1 often stands for a label that is kept secret" if value == -1 else ""
            raise InputError(f"{where(i)}: the label {value} of {name!r} is out of range 0 to {len(names) - 1}{hint}")
    return (lambda value: -1 if value in ignored else value), names
