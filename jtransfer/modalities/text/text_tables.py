"""Reads texts from tables (CSV, TSV, JSON lines and Parquet), of one split or several, each of one file or several."""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jtransfer.core.errors import InputError
from jtransfer.data import labels
from jtransfer.data.source import Source, concatenate, unlabelled
from jtransfer.modalities.text import lines
from jtransfer.modalities.text.csv_files import open_csv
from jtransfer.modalities.text.json_lines import open_jsonl
from jtransfer.modalities.text.parquet import open_parquet
from jtransfer.modalities.text.table import Columns, Rows, Table, choose, column_of


def table_splits(
    name: str, suffixes: Sequence[str], open_table: Callable[[Path], Table], location: str, spec: Mapping
) -> dict[str, Source]:
    """Returns the splits of tables of texts.

    Args:
      name: The format, for errors.
      suffixes: The suffixes of the files of a folder.
      open_table: A function that opens a file.
      location: A file, a folder, or `/path/{train,test}.csv`; see `lines.splits`.
      spec: The columns of texts, targets and labels; see `table.choose`.

    Raises:
      InputError: A file can't be read, lacks a column, or holds a value that is no label or no text; the message names
        its file and line.
    """
    files = lines.splits(location, suffixes, name)
    tables = {split: [open_table(path) for path in paths] for split, paths in files.items()}
    first = next(iter(tables.values()))[0]
    columns = choose(first.columns, first.lists, spec, f"{name}:{location}")
    rows = {split: [_rows(table, columns) for table in every] for split, every in tables.items()}
    sizes = {split: sum(part.size for part in parts) for split, parts in rows.items()}
    for split, size in sizes.items():
        if not size:
            raise InputError(f"{files[split][0]}: holds no example, only the names of the columns")
    notes = tuple(note for every in tables.values() for table in every for note in table.notes)
    held = {split: tuple(map(str, paths)) for split, paths in files.items()}
    texts = {
        split: _whole([unlabelled(part.size, _reader(part, columns), notes) for part in parts])
        for split, parts in rows.items()
    }
    if not columns.labels:
        return {
            split: dataclasses.replace(text, column=column_of(tables[split]), files=held[split])
            for split, text in texts.items()
        }
    encoded = _labels(rows, columns, first.class_names, labels.asked(spec))
    encoded = encoded._replace(notes=(*notes, *encoded.notes))
    made = {
        split: labels.labelled(texts[split].read, encoded, split, _where(parts), column_of(tables[split]))
        for split, parts in rows.items()
    }
    return {split: dataclasses.replace(source, files=held[split]) for split, source in made.items()}


csv_splits = functools.partial(table_splits, "csv", (".csv", ".tsv"), open_csv)
jsonl_splits = functools.partial(table_splits, "jsonl", (".jsonl", ".json", ".ndjson"), open_jsonl)
parquet_splits = functools.partial(table_splits, "parquet", (".parquet",), open_parquet)


def _rows(table: Table, columns: Columns) -> Rows:
    wanted = tuple(columns.texts.values())
    for column in (*wanted, *columns.labels):
        if column not in table.columns:
            raise InputError(f"{table.path}: has no column {column!r}, only {', '.join(table.columns)}")
    return table.scan(wanted, columns.labels)


def _labels(
    rows: Mapping[str, list[Rows]], columns: Columns, class_names: Mapping[str, list[str]], asked: labels.Asked
) -> labels.Labels:
    pieces = {
        column: {split: [(part.kept[column], part.where) for part in parts] for split, parts in rows.items()}
        for column in columns.labels
    }
    if len(pieces) > 1:
        return labels.several(pieces, asked)
    column = columns.labels[0]
    return labels.encode(pieces[column], column, class_names.get(column), columns.words, asked)


def _where(parts: list[Rows]) -> Callable[[int], str]:
    """Where a row of a split of several files stands."""
    ends = list(itertools.accumulate(part.size for part in parts))

    def where(i: int) -> str:
        part = bisect.bisect_right(ends, i)
        return parts[part].where(i - ends[part] + parts[part].size)

    return where


def _reader(part: Rows, columns: Columns) -> Callable[[int], dict]:
    names = columns.texts

    def read(i: int) -> dict:
        row = part.read(i)
        return {ours: row[column] for ours, column in names.items()}

    return read


def _whole(parts: list[Source]) -> Source:
    return concatenate([(part, 0, len(part)) for part in parts])
