"""Reads texts from JSON lines: files with one object on each line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import lines
from jtransfer.modalities.text.table import Rows, Table

_MOST_VALUES = 3_000_000  # of a line


def open_jsonl(path: Path) -> Table:
    """Opens a file of JSON lines as a table, whose columns are those of the first object. Empty lines are passed over.

    Args:
      path: The path of the file.

    Raises:
      InputError: It is empty, or a line is no JSON object. Scanning the table raises it for an object that lacks a
        column.
    """
    first = next((_object(path, line) for line in lines.scan(path) if line.text.strip()), None)
    if first is None:
        raise InputError(f"{path}: is empty; put one JSON object on each line")
    lists = frozenset(name for name, value in first.items() if isinstance(value, list))

    def scan(wanted: tuple[str, ...], kept: tuple[str, ...]) -> Rows:
        places, columns = [], {name: [] for name in kept}
        for line in lines.scan(path):
            if not line.text.strip():
                continue
            row = _object(path, line)
            for name in (*wanted, *kept):
                if name not in row:
                    raise InputError(f"{path}, line {line.number}: has no {name!r}, only {', '.join(row) or 'nothing'}")
            for name in wanted:
                check_text(row[name], name in lists, f"{path}, line {line.number}, {name!r}")
            for name in kept:
                columns[name].append(row[name])
            places.append((line.number, line.start, line.stop))
        table, text = np.array(places, np.int64), lines.reader(path)

        def read(i: int) -> dict[str, Any]:
            row = json.loads(text(*table[i, 1:].tolist()))
            return {name: row[name] for name in wanted}

        return Rows(len(table), read, columns, lambda i: f"{path}, line {table[i, 0]}")

    return Table(path, tuple(first), lists, scan)


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the number of each line that is not empty, and its object.

    Raises:
      InputError: A line is no JSON object.
    """
    for line in lines.scan(path):
        if line.text.strip():
            yield line.number, _object(path, line)


def check_text(value: Any, words: bool, where: str) -> None:
    """Checks that a value is a text, or a list of words.

    Args:
      value: The value.
      words: Whether it must be a list of words.
      where: Where it stands, for errors.

    Raises:
      InputError: It is not.
    """
    if words:
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise InputError(f"{where}: must be a list of words, not {value!r:.60}")
    elif not isinstance(value, str):
        raise InputError(f"{where}: must be a text, not {value!r:.60}")


def _object(path: Path, line: lines.Line) -> dict[str, Any]:
    if sum(map(line.text.count, "[{,")) > _MOST_VALUES:
        raise InputError(f"{path}, line {line.number}: holds more than {_MOST_VALUES:,} values; divide it into several")
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {line.number}: is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{path}, line {line.number}: must be an object {{…}}, not {line.text.strip()!r:.60}")
    if "\\ud" in line.text.lower():
        _check_surrogates(row, f"{path}, line {line.number}")
    return row


def _check_surrogates(row: dict[str, Any], where: str) -> None:
    """Refuses halves of a character, which remain where a text was cut in the middle of one."""
    for name, value in row.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise InputError(f"{where}, {name!r}: has {half}, half of a character; remove it") from None
