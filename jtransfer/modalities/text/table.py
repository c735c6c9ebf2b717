"""A table of texts: what every file format gives, and the columns that a spec chooses from it."""

from collections.abc import Callable, Iterable, Mapping
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
    """The rows of a table after one pass over it.

    Attributes:
      size: how many.
      read: the wanted columns of row `0 <= i < size` by name; called from several threads.
      kept: whole columns, by name.
      where: row i for an error: `file.csv, line 12`.
    """

    size: int
    read: Callable[[int], dict[str, Any]]
    kept: dict[str, list]
    where: Callable[[int], str]


class Table(NamedTuple):
    """A file whose header is read.

    Attributes:
      path: of the file.
      columns: the columns' names in order.
      lists: those that hold a list in each row.
      scan: `(wanted, kept) -> Rows`: checks every row, and keeps whole columns.
      class_names: of columns whose file names the classes.
    """

    path: Path
    columns: tuple[str, ...]
    lists: frozenset[str]
    scan: Callable[[tuple[str, ...], tuple[str, ...]], Rows]
    class_names: Mapping[str, list[str]] = {}


class Columns(NamedTuple):
    """Which columns are what; None where there is none.

    Attributes:
      text: a text, or a list of words if `words`.
      pair: a second text.
      target: the text to produce.
      labels: one column, or several that each answer yes or no.
      words: whether `text` holds lists of words, each with a label of its own.
    """

    text: str
    pair: str | None
    target: str | None
    labels: tuple[str, ...]
    words: bool

    @property
    def texts(self) -> dict[str, str]:
        """Our names → columns, of those that are read for each example."""
        text = {"tokens" if self.words else "text": self.text}
        others = {"text_pair": self.pair, "target": self.target}
        return text | {name: column for name, column in others.items() if column}


def choose(columns: Iterable[str], lists: Iterable[str], spec: Mapping, where: str) -> Columns:
    """The columns that `text_key`, `pair_key`, `target_key` and `label_key` of a spec name, or that need no naming.

    Args:
      columns: the names there are.
      lists: those that hold lists.
      spec: `label_key=""` means texts without labels; `"toxic,threat"` several columns of 0 and 1.
      where: the data set, for errors.

    Raises:
      InputError: no such column, or none that goes without saying.
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
    found = [(name, pair) for name in (*_TEXTS, *_WORDS) if name in columns]
    found += [(a, b) for a, b in _PAIRS if a in columns and b in columns]
    if len(found) != 1:
        many = f"{', '.join(text for text, _ in found)} could each be the text" if found else "which column is the text"
        raise Declined(f"{where}: {many}; set data.text_key to one of: {_listed(columns)}")
    return found[0]


def label_columns(columns: tuple[str, ...], spec: Mapping, where: str) -> tuple[str, ...]:
    """The columns of the labels: that of `label_key`, or those that it names, separated by commas; "" is none.

    Raises:
      InputError: no such column.
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
