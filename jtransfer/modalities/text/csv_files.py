"""Reads texts from CSV and TSV files that have a header."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import csv_dialects, lines
from jtransfer.modalities.text.table import Rows, Table

_MOST_FIELDS = 3_000_000  # of a line


def open_csv(path: Path) -> Table:
    """Opens a CSV file as a table. How it is written is found out by `csv_dialects.find`.

    Args:
      path: The path of the file.

    Raises:
      InputError: It is empty, has no header, or names a column twice. Scanning the table raises it for a row that does
        not fit the header.
    """
    dialect = csv_dialects.find(path)
    header = [name.strip() for name in raw_header(path, dialect)]
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise InputError(f"{path}, line {dialect.skipped + 1}: names a column twice: {', '.join(named)}")

    def scan(wanted: tuple[str, ...], kept: tuple[str, ...]) -> Rows:
        starts, stops, numbers, columns = [], [], [], {name: [] for name in kept}
        places = {name: header.index(name) for name in {*wanted, *kept}}
        for number, start, stop, fields in _records(path, dialect):
            if len(fields) != len(header):
                raise InputError(
                    f"{path}, line {number}: has {len(fields)} fields, but the header names {len(header)}: "
                    f"{', '.join(header)}"
                )
            starts.append(start)
            stops.append(stop)
            numbers.append(number)
            for name in kept:
                columns[name].append(fields[places[name]])
        starts, stops = np.array(starts[1:], np.int64), np.array(stops[1:], np.int64)
        text = lines.reader(path)

        def read(i: int) -> dict[str, str]:
            fields = next(csv.reader([text(int(starts[i]), int(stops[i]))], **dialect.options))
            return {name: fields[places[name]] for name in wanted}

        return Rows(
            len(starts), read, {k: v[1:] for k, v in columns.items()}, lambda i: f"{path}, line {numbers[i + 1]}"
        )

    return Table(path, tuple(header), frozenset(), scan, notes=(dialect.note,) if dialect.note else ())


def raw_header(path: Path, dialect: csv_dialects.Dialect) -> list[str]:
    """Returns the fields of the header as they stand in a CSV file.

    Args:
      path: The path of the file.
      dialect: How it is written.

    Raises:
      InputError: It is empty.
    """
    header = next((fields for _, _, _, fields in _records(path, dialect)), None)
    if header is None:
        raise InputError(f"{path}: is empty; its first line must name the columns")
    return header


def _records(path: Path, dialect: csv_dialects.Dialect) -> Iterator[tuple[int, int, int, list[str]]]:
    """Number of the first line, first byte, last byte and fields of each record, the header included."""
    taken: list[lines.Line] = []  # of the record

    def texts() -> Iterator[str]:
        for line in lines.scan(path):
            if line.number > dialect.skipped:
                taken.append(line)
                lines.check_length(line.stop - taken[0].start, f"{path}, line {taken[0].number}")
                if line.text.count(dialect.delimiter) > _MOST_FIELDS:
                    raise InputError(f"{path}, line {line.number}: has more than {_MOST_FIELDS:,} fields")
                yield line.text

    csv.field_size_limit(lines.LONGEST)
    reader = csv.reader(texts(), **dialect.options)
    while True:
        taken.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number = taken[0].number if taken else 1
            raise InputError(
                f"{path}, line {number}: is no row of a CSV file: {error}; check its quotes, which are "
                "doubled inside a field"
            ) from None
        if "\0" in "".join(fields):
            raise InputError(
                f"{path}, line {taken[0].number}: has a NUL byte; remove it: tr -d '\\000' < {str(path)!r} > new_file"
            )
        if fields:
            yield taken[0].number, taken[0].start, taken[-1].stop, fields
