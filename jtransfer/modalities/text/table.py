"""Tables of texts: what a reader of a file format returns, and which columns of it are texts, targets and labels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.data.source import Declined

_TEXTS = ("text", "sentence")
_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
_WORDS = ("tokens", "words")
LABELS = ("labels", "class", "score", "tags", "ner_tags")


class Rows(NamedTuple):
    """The rows of a table that has been scanned.

    Attributes:
      size: The number of rows.
      read: A function from the number of a row to its wanted columns by name; called from several threads.
      kept: Whole columns by name.
      where: A function from the number of a row to where it stands, for errors, such as "file.csv, line 12".
    """

    size: int
    read: Callable[[int], dict[str, Any]]
    kept: dict[str, list]
    where: Callable[[int], str]


class Table(NamedTuple):
    """A file whose header has been read.

    Attributes:
      path: The path of the file.
      columns: The names of the columns in order.
      lists: The names of the columns that hold a list in each row.
      scan: A function `(wanted, kept) -> Rows` of names of columns, those to read by row and those to keep whole, which
        checks every row.
      class_names: Column → the names of its classes, where the file states them.
      notes: What was guessed of the file's form.
    """

    path: Path
    columns: tuple[str, ...]
    lists: frozenset[str]
    scan: Callable[[tuple[str, ...], tuple[str, ...]], Rows]
    class_names: Mapping[str, list[str]] = {}
    notes: tuple[str, ...] = ()


class Columns(NamedTuple):
    """The columns that make up an example.

    Attributes:
      text: The column of texts, or of lists of words if `words`.
      pair: The column of second texts, or None.
      target: The column of targets, or None.
      labels: The column of labels, or several columns of 0 and 1; empty for examples without labels.
      words: Whether `text` holds lists of words, which have a label each.
    """

    text: str
    pair: str | None
    target: str | None
    labels: tuple[str, ...]
    words: bool

    @property
    def texts(self) -> dict[str, str]:
        """Name in an example → column, for all columns but those of labels."""
        text = {"tokens" if self.words else "text": self.text}
        others = {"text_pair": self.pair, "target": self.target}
        return text | {name: column for name, column in others.items() if column}


def choose(columns: Iterable[str], lists: Iterable[str], spec: Mapping, where: str) -> Columns:
    """Returns the columns that make up an example.

    Args:
      columns: The names of all columns.
      lists: The names of the columns that hold lists.
      spec: `text_key`, `pair_key`, `target_key` and `label_key` name columns; usual names need not be given.
        `label_key` is "" for texts without labels, and may name several columns of 0 and 1, as in "toxic,threat".
      where: The data set, for errors.

    Raises:
      InputError: There is no such column, or the columns contradict each other.
      Declined: No column is named as the text, and not just one has a usual name.
    """
    columns = tuple(columns)
    text, pair = _text(columns, spec, where)
    target = _named(columns, spec.get("target_key"), "target_key", where)
    words = text in lists
    if words and (pair or target):
        raise InputError(
            f"{where}: the column {text!r} holds lists of words; it can have labels, but no pair or target"
        )
    return Columns(text, pair, target, () if target else label_columns(columns, spec, where), words)


def _text(columns: tuple[str, ...], spec: Mapping, where: str) -> tuple[str, str | None]:
    pair = _named(columns, spec.get("pair_key"), "pair_key", where)
    if text := _named(columns, spec.get("text_key"), "text_key", where):
        return text, pair
    candidates = [(name, pair) for name in (*_TEXTS, *_WORDS) if name in columns]
    candidates += [(a, b) for a, b in _PAIRS if a in columns and b in columns]
    if len(candidates) != 1:
        many = (
            f"{', '.join(text for text, _ in candidates)} could each be the text"
            if candidates
            else "which column is the text"
        )
        raise Declined(f"{where}: {many}; set data.text_key to one of: {_listed(columns)}")
    return candidates[0]


def label_columns(columns: tuple[str, ...], spec: Mapping, where: str) -> tuple[str, ...]:
    """Returns the columns of the labels.

    Args:
      columns: The names of all columns.
      spec: `label_key` names a column, or several separated by commas; "" means none.
      where: The data set, for errors.

    Raises:
      InputError: There is no such column.
    """
    key = spec.get("label_key")
    if key == "":
        return ()
    if key and key not in columns and "," in key:
        return tuple(name for part in key.split(",") if (name := _named(columns, part.strip(), "label_key", where)))
    others = [name for name in LABELS if name in columns]
    if key in (None, "label") and "label" not in columns and len(others) == 1:
        return (others[0],)
    if (key or "label") not in columns:
        raise InputError(
            f"{where}: no column {key or 'label'!r}; set data.label_key to one of: {_listed(columns)}, "
            'or to "" for examples without labels'
        )
    return (key or "label",)


def _named(columns: tuple[str, ...], name: str | None, field: str, where: str) -> str | None:
    if name and name not in columns:
        raise InputError(f"{where}: no column {name!r}; set data.{field} to one of: {_listed(columns)}")
    return name or None


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(map(str, columns))


def column_of(tables: Sequence[Table]) -> Callable[[str], list]:
    """Returns a function from the name of a column to its values in all files of a split.

    Args:
      tables: The files. The function raises InputError if one of them has no such column.
    """

    def column(name: str) -> list:
        for table in tables:
            if name not in table.columns:
                raise InputError(f"{table.path}: has no column {name!r}, only {', '.join(table.columns)}")
        return [value for table in tables for value in table.scan((), (name,)).kept[name]]

    return column
