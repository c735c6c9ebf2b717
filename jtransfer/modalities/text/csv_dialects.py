"""Finds out how a CSV file is written: what stands between its columns, and what its quotes mean."""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer.modalities.text import lines

_MARKS = (",", ";", "\t", "|")
_NAMES = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas"}
_STATED = re.compile(r'"?sep=(.)"?\s*')
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_REASON = re.compile(r'["\t\n\r,;]|^\s|\s$|^$')  # to quote a field
_UNBALANCED = 'a"'
_LONGEST_HEADER = 1000  # lines
_MOST_OF_HEADER = 10_000_000  # characters


class Dialect(NamedTuple):
    """How a CSV file is written.

    Attributes:
      delimiter: The character between columns.
      quoted: Whether a field may stand in quotes, with quotes inside doubled; otherwise quotes are part of the texts.
      blanks: Whether blanks follow the delimiters, and are no part of the fields.
      skipped: The number of lines before the header.
      note: What was guessed, or "".
    """

    delimiter: str
    quoted: bool = True
    blanks: bool = False
    skipped: int = 0
    note: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `csv.reader`."""
        quoting = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        return {
            "delimiter": self.delimiter,
            "quoting": quoting,
            "skipinitialspace": self.blanks,
            "strict": True,
        }


def find(path: Path) -> Dialect:
    """Returns how a file is written.

    A first line `sep=;`, as Excel writes it, states the delimiter. Otherwise it is the one of commas, semicolons, tabs
    and vertical bars that makes the most columns of the header; among equals the comma, or the tab in a file whose name
    ends in `.tsv` or `.tab`. Quotes have the meaning of RFC 4180; but in a file with tabs they are part of the texts
    unless every field with a quote is written as that standard says.

    Args:
      path: The path of the file.

    Raises:
      InputError: It can't be read, or is not UTF-8.
    """
    usual = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    head = list(_head(path))
    stated = _STATED.fullmatch(head[0]) if head else None
    skipped = 1 if stated else 0
    widths = {mark: _header(head[skipped:], mark) for mark in (usual, *_MARKS)}
    delimiter = stated[1] if stated else max(widths, key=lambda mark: len(widths[mark]))
    columns = widths.get(delimiter, [])
    blanks = len(columns) > 1 and all(name.startswith(" ") for name in columns[1:])
    notes = (
        [f"{_NAMES.get(delimiter, repr(delimiter))} are between its columns"]
        if delimiter != usual and not stated
        else []
    )
    quoted = True
    if delimiter == "\t" and (seen := _quotes(path, skipped)) is not None:
        quoted = seen
        notes.append("quotes stand around fields" if quoted else "quotes are part of its texts")
    return Dialect(delimiter, quoted, blanks, skipped, f"{path}: {', and '.join(notes)}" if notes else "")


def _head(path: Path) -> Iterator[str]:
    """The first lines of a file, as far as its header may go."""
    size = 0
    for line in itertools.islice(lines.scan(path), _LONGEST_HEADER):
        yield line.text[: _MOST_OF_HEADER - size]
        size += len(line.text)
        if size >= _MOST_OF_HEADER:
            return


def _header(head: list[str], mark: str) -> list[str]:
    try:
        return next((fields for fields in csv.reader(head, delimiter=mark) if fields), [])
    except csv.Error:
        return []


def _quotes(path: Path, skipped: int) -> bool | None:
    """Whether quotes stand around fields of a file with tabs; None if there is no quote.

    They do if each field that has one begins and ends in quotes and has doubled ones inside, and there is a reason for
    the quotes, or the header or the whole column has them. Fields that go on in the next line count only if the lines
    of the file have different numbers of columns otherwise.
    """
    header: list[str] | None = None
    quoted, needless, bare, several_lines = set(), set(), set(), False  # sets of columns
    counts = {line.text.count("\t") for line in lines.scan(path) if line.number > skipped and line.text.strip()}
    for record in _records(path, skipped):
        fields = _fields(record)
        if fields is None:
            return False
        header = header or fields
        several_lines |= "\n" in record.rstrip("\r\n")
        for k, field in enumerate(fields):
            if '"' in field:
                quoted.add(k)
                if not _REASON.search(field[1:-1]):
                    needless.add(k)
            elif field and fields is not header:
                bare.add(k)
    if not quoted:
        return None
    by_habit = any(field.startswith('"') for field in header or ()) or not needless & bare
    return by_habit and (not several_lines or len(counts) > 1)


def _records(path: Path, skipped: int) -> Iterator[str]:
    """Lines, joined while a quote is open; a quote that is never closed makes a record that is none."""
    held: list[str] = []
    opened = size = 0
    for line in lines.scan(path):
        if line.number <= skipped:
            continue
        held.append(line.text)
        size += len(line.text)
        if size > lines.LONGEST:
            yield _UNBALANCED
            return
        opened += line.text.count('"')
        if opened % 2 == 0:
            yield "".join(held)
            held, opened, size = [], 0, 0
    if held:
        yield "".join(held)


def _fields(record: str) -> list[str] | None:
    """The fields of a record with their quotes; None if a quote stands elsewhere than around a field."""
    record, at, fields = record.rstrip("\r\n"), 0, []
    if '"' not in record:
        return record.split("\t")
    while True:
        quoted = _QUOTED.match(record, at)
        end = quoted.end() if quoted else (record + "\t").index("\t", at)
        if (not quoted and '"' in record[at:end]) or record[end : end + 1] not in ("", "\t"):
            return None
        fields.append(record[at:end])
        if end >= len(record):
            return fields
        at = end + 1
