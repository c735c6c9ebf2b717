"""Reads texts from CSV files (RFC 4180) and TSV files (tabs, no quotes) that have a header."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import lines
from jtransfer.modalities.text.table import Rows, Table

_COMMAS = {"delimiter": ",", "strict": True}
_TABS = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "strict": True}
_LONGEST = 2**31 - 1  # characters of a field; the module's own limit is 131,072


def open_csv(path: Path) -> Table:
    """Opens a CSV file, or a TSV file, whose name ends in ".tsv", as a table.

    Args:
      path: The path of the file.

    Raises:
      InputError: It is empty, has no header, or names a column twice. Scanning the table raises it for a row that does
        not fit the header.
    """
    dialect = _TABS if path.suffix == ".tsv" else _COMMAS
    header = next((fields for _, _, _, fields in _records(path, dialect)), None)
    if header is None:
        raise InputError(f"{path}: is empty; its first line must name the columns")
    if len(set(header)) < len(header):
        raise InputError(f"{path}, line 1: names a column twice: {', '.join(header)}")

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

        def read(i: int) -> dict[str, str]:
            fields = next(csv.reader([lines.read(path, int(starts[i]), int(stops[i]))], **dialect))
            return {name: fields[places[name]] for name in wanted}

        return Rows(
            len(starts), read, {k: v[1:] for k, v in columns.items()}, lambda i: f"{path}, line {numbers[i + 1]}"
        )

    return Table(path, tuple(header), frozenset(), scan)


def _records(path: Path, dialect: dict) -> Iterator[tuple[int, int, int, list[str]]]:
    """Number of the first line, first byte, last byte and fields of each record, the header included."""
    taken: list[lines.Line] = []  # of the record

    def texts() -> Iterator[str]:
        for line in lines.scan(path):
            taken.append(line)
            yield line.text

    csv.field_size_limit(_LONGEST)
    reader = csv.reader(texts(), **dialect)
    while True:
        taken.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number = taken[0].number if taken else 1
            raise InputError(f"{path}, line {number}: is no row of a CSV file: {error}; check its quotes") from None
        if fields:
            yield taken[0].number, taken[0].start, taken[-1].stop, fields
