"""Tables as a user gives them to `predict`, all of their columns as they are: CSV, TSV, JSON lines and Parquet."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import json_lines, lines, parquet
from jtransfer.modalities.text.csv_files import open_csv


class Table(NamedTuple):
    """A table in memory.

    Attributes:
      path: The path of its file, or words for it.
      columns: Name → the values of all rows; None where a row has none.
      where: A function from the number of a row to where it stands, for errors.
      digest: A digest of the content.
      notes: What was guessed of the file's form.
    """

    path: Path
    columns: dict[str, list[Any]]
    where: Callable[[int], str]
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), ()))

    @property
    def lists(self) -> frozenset[str]:
        """The names of the columns whose first value is a list."""
        return frozenset(name for name, values in self.columns.items() if values and isinstance(values[0], list))


def read(path: str) -> Table:
    """Reads a table whose suffix is one of `SUFFIXES`.

    Raises:
      InputError: It can't be read, or has no rows.
    """
    file = Path(path)
    found = _READERS[file.suffix.lower()](file)._replace(digest=_digest(file))
    if not found.size:
        raise InputError(f"{path}: holds no example, only the names of the columns")
    return found


def of_rows(rows: Sequence[dict[str, Any]], name: str, where: Callable[[int], str] | None = None) -> Table:
    """Returns a table of rows, whose columns are those of any row, in order.

    Args:
      rows: At least one row.
      name: Words for it.
      where: Where a row stands.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    digest = hashlib.sha256(repr(rows).encode("utf-8", "surrogatepass")).hexdigest()
    return Table(Path(name), columns, where or (lambda i: f"{name}, row {i + 1}"), digest)


def _csv(path: Path) -> Table:
    opened = open_csv(path)
    rows = opened.scan((), tuple(name for name in opened.columns if name))
    return Table(path, rows.kept, rows.where, "", opened.notes)


def _jsonl(path: Path) -> Table:
    numbered = list(json_lines.objects(path))
    if not numbered:
        raise InputError(f"{path}: is empty; put one JSON object on each line")
    return of_rows([row for _, row in numbered], str(path), lambda i: f"{path}, line {numbered[i][0]}")


def _parquet(path: Path) -> Table:
    opened = parquet.open_parquet(path)
    rows = opened.scan((), opened.columns)
    return Table(path, rows.kept, rows.where, "", opened.notes)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_READERS = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _jsonl,
    ".parquet": _parquet,
}
SUFFIXES = frozenset(_READERS)


def read_lines(path: str) -> list[str]:
    """Returns the lines of a text file, without their ends.

    Raises:
      InputError: It can't be read.
    """
    return [line.text.rstrip("\r\n") for line in lines.scan(Path(path))]
