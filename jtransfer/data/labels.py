"""Turns the labels that a file holds into targets: classes, numbers, several classes, or a class for each word."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.data import label_cells, label_notes, missing_labels, scalar_labels
from jtransfer.data.label_items import Item, Pieces, Where, flat
from jtransfer.data.source import Source

KINDS = ("class", "classes", "number", "tags")
_ANSWERS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_NONE = (-1, -100)
_MOST_CELLS = 2**28  # of a table with a cell for each example and class


class Asked(NamedTuple):
    """What a config says of labels.

    Attributes:
      kind: The kind that they are to be, as in `Source.label_kind`; "" guesses it from what the column holds.
      missing: What becomes of missing labels; see `missing_labels.present`.
    """

    kind: str = ""
    missing: str = "stop"


GUESS = Asked()


class Labels(NamedTuple):
    """The labels of all splits of a data set.

    Attributes:
      kind: The kind of the labels, as in `Source.label_kind`.
      class_names: The names of the classes in order; for numbers, the name of their column.
      values: Split → the labels of its examples: int32 [N] (classes), float32 [N] (numbers), float32 [N, C] (several
        classes), or one list of classes for each example (tags).
      rows: Split → the number of the row of each example, int64 [N]; None if every row is an example.
      notes: What was guessed, left out, or looks odd, a line each.
    """

    kind: str
    class_names: list[str]
    values: dict[str, Any]
    rows: dict[str, np.ndarray] | None = None
    notes: tuple[str, ...] = ()


def asked(spec: Mapping[str, Any]) -> Asked:
    """Returns what a spec of a data set says of labels, with its fields `labels` and `missing`.

    Raises:
      InputError: There is no such kind of labels.
    """
    kind = spec.get("labels") or ""
    if kind and kind not in KINDS:
        raise unknown("data.labels", kind, KINDS)
    return Asked(kind, spec.get("missing") or "stop")


def encode(
    columns: Mapping[str, Pieces],
    name: str,
    class_names: Sequence[str] | None = None,
    tags: bool = False,
    asked: Asked = GUESS,
) -> Labels:
    """Turns a column of labels into targets, with the same classes in all splits.

    The kind is the one that is asked for, or else what the column holds decides. Words are classes, in sorted order;
    whole numbers are the classes 0, 1, …; other numbers, such as 3.0, are kept as numbers for regression. Words count
    as numbers if each of them is one. A list of words or whole numbers names the classes that an example has; a list of
    decimal numbers or booleans, or lists of as many 0 and 1 each, have one value for each class. A list may be written
    as text: ['a', 'b'] or [0 1 1]. If several classes are asked for, words are split at |, ; or the like, too; if one
    class is, the lists must have one class each. With `tags`, a list has the class of each word, where -1 and -100 mean
    that there is none.

    Args:
      columns: Split → the values of the column, in pieces, each with a function from a row to where it stands in a
        file.
      name: The name of the column.
      class_names: The names of the classes in order, where the file states them.
      tags: Whether the lists are for words.
      asked: What the config says.

    Returns:
      The labels of all splits.

    Raises:
      InputError: A label is missing, of another kind than the others, or none of the classes; the message names its
        line.
    """
    known = frozenset(class_names or ())
    secret = missing_labels.is_secret(columns, "tags" if tags else asked.kind, class_names is not None)
    found = missing_labels.present({name: columns}, asked.missing, known, secret)[name]
    every = [item for some in found.items.values() for item in some]
    notes = list(found.notes)
    if not every:
        none = dict.fromkeys(found.items, np.zeros(0, np.float32))
        return Labels(asked.kind or "class", list(class_names or ()), none, found.rows)
    wanted = "" if tags else asked.kind
    every, listed, how = label_cells.as_lists(every, name, wanted, class_names)
    notes += [f"labels {name!r}: {how}"] if how else []
    if tags and not listed:
        raise InputError(f"{every[0][1](0)}: the label {name!r} must be a list with one label for each word")
    if tags:
        kind, (convert, names) = "tags", _tags(every, name, class_names)
    elif listed:
        kind, (convert, names) = "classes", _classes(every, name, class_names)
        if wanted == "class":
            kind, convert = "class", _the_one(convert)
    else:
        label_cells.check(every, name, wanted)
        kind, convert, names = scalar_labels.encode(every, name, class_names, wanted)
    converted = [_converted(convert, item, listed) for item in every]
    notes += label_notes.of(kind, names, converted, every, name, guessed=not asked.kind and class_names is None)
    values, start, dtype = {}, 0, np.int32 if kind == "class" else np.float32
    for split, some in found.items.items():
        part = converted[start : start + len(some)]
        values[split] = part if kind == "tags" else np.array(part, dtype)
        start += len(some)
    return Labels(kind, names, values, found.rows, tuple(notes))


def several(columns: Mapping[str, Mapping[str, Pieces]], asked: Asked = GUESS) -> Labels:
    """Turns several columns of 0 and 1 into targets for which an example may have any number of classes.

    Args:
      columns: Column → split → the values, as for `encode`. The columns are the classes.
      asked: What the config says. If it asks for one class, each row must have a single 1.

    Returns:
      Labels of the kind "classes", or "class" where that is asked for.

    Raises:
      InputError: A value is none of 0, 1, false and true.
    """
    names = list(columns)
    found = missing_labels.present(columns, asked.missing)
    if asked.kind == "number":
        raise InputError(f"data.label_key names several columns, {', '.join(names)}; a number to predict has one")
    rows, notes = found[names[0]].rows, found[names[0]].notes
    values = {}
    for split, first in found[names[0]].items.items():
        table = np.array([[_answer(item, name) for item in found[name].items[split]] for name in names], np.float32)
        values[split] = table.T.copy()
        if asked.kind == "class":
            _check_one(values[split], first)
            values[split] = values[split].argmax(1).astype(np.int32)
    return Labels("class" if asked.kind == "class" else "classes", names, values, rows, tuple(notes))


def labelled(
    read: Callable[[int], dict],
    labels: Labels,
    split: str,
    where: Where,
    column: Callable[[str], Sequence] | None = None,
    fingerprint: Callable[[int], Any] | None = None,
) -> Source:
    """Makes a source of the examples of a split and their labels.

    Args:
      read: A function from the number of a row to what it holds beside its label.
      labels: The labels of the data set.
      split: The name of the split.
      where: A function from the number of a row to where it stands, for errors.
      column: As in `Source`, of all rows.
      fingerprint: As in `Source`, of the number of a row.

    Returns:
      The source. Reading an example raises InputError if it has more or fewer words than labels.
    """
    plain = {"class": int, "number": float}.get(labels.kind, lambda value: value)
    values, rows = labels.values[split], None if labels.rows is None else labels.rows[split].tolist()

    def row_of(i: int) -> int:
        return i if rows is None else rows[i]

    def example(i: int) -> dict:
        k = row_of(i)
        row = {**read(k), "label": plain(values[i])}
        if labels.kind == "tags" and len(row["tokens"]) != len(row["label"]):
            raise InputError(f"{where(k)}: has {len(row['tokens'])} words but {len(row['label'])} labels")
        return row

    def of_column(name: str) -> Sequence:
        assert column is not None
        every = column(name)
        return every if rows is None else [every[k] for k in rows]

    return Source(
        len(values),
        example,
        labels.class_names,
        lambda start, stop: values[start:stop],
        labels.kind,
        column=column and of_column,
        fingerprint=fingerprint and (lambda i: fingerprint(row_of(i))),
        notes=labels.notes,
    )


def _answer(item: Item, name: str) -> int:
    value, where, i = item
    answer = str(value).strip().lower()
    if answer not in _ANSWERS:
        raise InputError(f"{where(i)}: {name!r} must be 0 or 1 where it is one of several labels, not {value!r:.60}")
    return _ANSWERS[answer]


def _check_one(table: np.ndarray, places: Sequence[Item]) -> None:
    wrong = np.flatnonzero((table != 0).sum(1) != 1)
    if wrong.size:
        _, where, i = places[wrong[0]]
        count = int((table[wrong[0]] != 0).sum())
        raise InputError(f"{where(i)}: has {count} classes, but task='classify' needs one; set task='multi_label'")


def _converted(convert: Callable, item: Item, listed: bool) -> Any:
    value, where, i = item
    if not listed:
        return convert(value)
    try:
        return convert(value)
    except ValueError as error:
        raise InputError(f"{where(i)}: the label {value!r:.60} {error}") from None


def _tags(every: Sequence[Item], name: str, class_names: Sequence[str] | None) -> tuple[Callable, list[str]]:
    kind, number, names = scalar_labels.encode(flat(every), name, class_names, ignored=_NONE)
    if kind != "class":
        raise InputError(f"{every[0][1](0)}: the labels {name!r} of words must be classes, not decimal numbers")
    return lambda value: [number(item) for item in value], names


def _classes(every: Sequence[Item], name: str, class_names: Sequence[str] | None) -> tuple[Callable, list[str]]:
    items, size = flat(every), len(every[0][0])
    if _are_answers([value for value, _, _ in every]):
        return lambda value: _vector(value, size), list(class_names or map(str, range(size)))
    kind, number, names = scalar_labels.encode(items, name, class_names)
    if kind == "number" or (items and isinstance(items[0][0], bool)):
        read = float if kind == "class" else number
        return lambda value: _vector([read(item) for item in value], size), list(class_names or map(str, range(size)))
    if len(names) * len(every) > _MOST_CELLS:
        raise InputError(
            f"the labels {name!r} are {len(names):,} classes for {len(every):,} examples that may have several each: "
            "too many; give whole numbers that follow each other, from 0"
        )
    return lambda value: _chosen([number(item) for item in value], len(names)), names


def _are_answers(lists: Sequence[list]) -> bool:
    """Whether lists have a 0 or 1 for each class: all as long, of both, and no names of classes."""
    elements = {type(element) is int and element for value in lists for element in value}
    if {len(value) for value in lists} != {len(lists[0])} or len(lists[0]) < 2 or elements != {0, 1}:
        return False
    return any(len(set(value)) < len(value) for value in lists) or len({tuple(value) for value in lists}) > 1


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


def _the_one(convert: Callable[[list], np.ndarray]) -> Callable[[list], int]:
    def one(value: list) -> int:
        vector = convert(value)
        if (vector != 0).sum() != 1 or vector.max() != 1:
            count = (vector != 0).sum()
            raise ValueError(f"has {count} classes, and task='classify' needs one; set task='multi_label'")
        return int(vector.argmax())

    return one
