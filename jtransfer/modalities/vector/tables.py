"""Reads vectors from tables of numbers (CSV, TSV and Parquet), of one split or several, each of one file or several."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data import labels
from jtransfer.data.source import Declined, Source, unlabelled
from jtransfer.modalities.text import lines
from jtransfer.modalities.text.table import LABELS, label_columns
from jtransfer.modalities.vector.columns import Columns, open_csv, open_parquet

Tables = Mapping[str, list[Columns]]  # split → its files


def table_splits(
    name: str, suffixes: Sequence[str], open_columns: Callable[[Path], Columns], location: str, spec: Mapping
) -> dict[str, Source]:
    """Returns the splits of tables: vectors of their columns of numbers, and labels.

    Args:
      name: The format, for errors.
      suffixes: The suffixes of the files of a folder.
      open_columns: A function that opens a file.
      location: A file, a folder, or `/path/{train,test}.csv`.
      spec: `columns` names the columns of the vectors, separated by commas, where "" takes all but the label;
        `label_key` is as for texts.

    Raises:
      InputError: A file can't be read or lacks a column, or a value is no number or no label; the message names its
        file, line and column.
      Declined: No column but the label has numbers.
    """
    where, files = f"{name}:{location}", lines.splits(location, suffixes, name)
    tables = {split: [open_columns(path) for path in paths] for split, paths in files.items()}
    first = next(iter(tables.values()))[0]
    _check_numbers(first, spec, where)
    keys = label_columns(first.names, spec, where)
    chosen = _chosen(first.names, keys, spec, where)
    vectors = {split: np.concatenate([_vectors(table, chosen, keys) for table in t]) for split, t in tables.items()}
    for split, rows in vectors.items():
        if not len(rows):
            raise InputError(f"{files[split][0]}: holds no example, only the names of the columns")
    notes = tuple(note for every in tables.values() for table in every for note in table.notes)
    column = {split: _column(every, chosen) for split, every in tables.items()}
    held = {split: tuple(map(str, paths)) for split, paths in files.items()}
    if not keys:
        return {
            split: dataclasses.replace(
                unlabelled(len(rows), _reader(rows), notes),
                column=column[split],
                fingerprint=_prints(rows),
                files=held[split],
            )
            for split, rows in vectors.items()
        }
    encoded = _labels(tables, keys, first.class_names, labels.asked(spec))
    encoded = encoded._replace(notes=(*notes, *encoded.notes))
    made = {
        split: labels.labelled(_reader(x), encoded, split, lambda i: where, column[split], _prints(x))
        for split, x in vectors.items()
    }
    return {split: dataclasses.replace(source, files=held[split]) for split, source in made.items()}


csv_splits = functools.partial(table_splits, "csv", (".csv", ".tsv"), open_csv)
parquet_splits = functools.partial(table_splits, "parquet", (".parquet",), open_parquet)


def _column(tables: Sequence[Columns], chosen: Sequence[str]) -> Callable[[str], list]:
    """A function from the name of a column to its values in all files of a split."""

    def column(name: str) -> list:
        for table in tables:
            if name not in table.names:
                raise InputError(f"{table.path}: has no column {name!r}, only {', '.join(table.names)}")
        if name in chosen:
            raise InputError(f"{name!r} is one of the numbers of the vectors; name the others in data.columns")
        return [value for table in tables for value in table.values(name)]

    return column


def _check_numbers(table: Columns, spec: Mapping, where: str) -> None:
    """Declines a table without numbers beside its labels."""
    keys = {*(spec.get("label_key") or "label").split(","), *LABELS}
    if not spec.get("columns") and not table.numeric - keys:
        raise Declined(f"{where}: has no column of numbers beside the label; it has {', '.join(table.names)}")


def _chosen(names: Sequence[str], keys: Sequence[str], spec: Mapping, where: str) -> tuple[str, ...]:
    """The columns of the vector."""
    free = tuple(name for name in names if name not in keys)
    chosen = tuple(name.strip() for name in spec.get("columns", "").split(",") if name.strip())
    for name in chosen:
        if name not in free:
            raise InputError(f"{where}: data.columns names {name!r}; the columns but the label are {', '.join(free)}")
    return chosen or free


def _vectors(table: Columns, chosen: Sequence[str], keys: Sequence[str]) -> np.ndarray:
    """Float32 [N, d]: the chosen columns of a file."""
    for name in (*chosen, *keys):
        if name not in table.names:
            raise InputError(f"{table.path}: has no column {name!r}, only {', '.join(table.names)}")
    with np.errstate(over="ignore"):
        vectors = np.stack([table.numbers(name).astype(np.float32) for name in chosen], axis=1)
    if (wrong := np.argwhere(~np.isfinite(vectors))).size:
        i, k = wrong[0].tolist()
        raise InputError(
            f"{table.where(i)}: the column {chosen[k]!r} is empty or not finite; fill it, or remove the row"
        )
    return vectors


def _labels(
    tables: Tables, keys: Sequence[str], class_names: Mapping[str, list[str]], asked: labels.Asked
) -> labels.Labels:
    pieces = {
        key: {split: [(table.values(key), table.where) for table in every] for split, every in tables.items()}
        for key in keys
    }
    if len(pieces) > 1:
        return labels.several(pieces, asked)
    return labels.encode(pieces[keys[0]], keys[0], class_names.get(keys[0]), asked=asked)


def _reader(vectors: np.ndarray) -> Callable[[int], dict]:
    return lambda i: {"vector": vectors[i]}


def _prints(vectors: np.ndarray) -> Callable[[int], bytes]:
    return lambda i: vectors[i].tobytes()
