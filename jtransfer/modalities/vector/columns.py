"""Reads files by column, with pyarrow: CSV, TSV and Parquet."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import csv_dialects, csv_files, lines, parquet
from jtransfer.modalities.text.table import Table

_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_MISSING = frozenset(("", "-", "?", "na", "n/a", "nan", "none", "null"))


class Columns(NamedTuple):
    """A file whose columns are read by name.

    Attributes:
      path: The path of the file.
      names: The names of the columns, in order.
      numeric: The names of the columns of numbers, by their type in Parquet, by the first row in CSV.
      numbers: A function from the name of a column to its numbers, float64 [N], NaN where one is missing. It raises
        InputError where a value is no number.
      values: A function from the name of a column to the list of its values as they are.
      where: A function from the number of a row to where it stands, for errors, such as "file.csv, line 12".
      class_names: Column → the names of its classes, where the file states them.
      notes: What was guessed of the file's form.
    """

    path: Path
    names: tuple[str, ...]
    numeric: frozenset[str]
    numbers: Callable[[str], np.ndarray]
    values: Callable[[str], list]
    where: Callable[[int], str]
    class_names: Mapping[str, list[str]] = {}
    notes: tuple[str, ...] = ()


def open_csv(path: Path) -> Columns:
    """Opens a CSV file, written in any of the ways of `csv_dialects.find`. A column without a name is left out.

    Raises:
      InputError: It is empty, names a column twice, or has a row that does not fit the header.
    """
    opened = csv_files.open_csv(path)
    names = tuple(name for name in opened.columns if name)
    table = _texts(path, opened)
    first = {name: table.column(name)[0].as_py() for name in names if len(table)}

    def where(i: int) -> str:
        return csv_files.open_csv(path).scan((), ()).where(i)

    def values(name: str) -> list:
        return table.column(name).to_pylist()

    def numbers(name: str) -> np.ndarray:
        import pyarrow

        try:
            return table.column(name).cast(pyarrow.float64()).to_numpy()
        except pyarrow.ArrowInvalid:
            return np.array([_number(text, name, i, where) for i, text in enumerate(values(name))])

    numeric = frozenset(name for name, text in first.items() if _NUMBER.fullmatch(text))
    return Columns(path, names, numeric, numbers, values, where, notes=opened.notes)


def open_parquet(path: Path) -> Columns:
    """Opens a Parquet file. Its columns of integers, floats, decimals and booleans are numbers.

    Raises:
      InputError: It is no Parquet file, or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    table, types = parquet.open_parquet(path), pyarrow.types
    schema = pyarrow.parquet.read_schema(path)
    kinds = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)
    numeric = frozenset(field.name for field in schema if any(kind(field.type) for kind in kinds))

    @functools.cache
    def column(name: str) -> Any:
        try:
            return pyarrow.parquet.read_table(path, columns=[name]).column(name)
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: is damaged: {str(error).splitlines()[0]}") from None

    def where(i: int) -> str:
        return f"{path}, row {i + 1}"

    def numbers(name: str) -> np.ndarray:
        if name not in numeric:
            raise _no_number(name, where(0), str(schema.field(name).type))
        return column(name).cast(pyarrow.float64()).to_numpy()

    return Columns(
        path, table.columns, numeric, numbers, lambda name: column(name).to_pylist(), where, table.class_names
    )


def _texts(path: Path, opened: Table) -> Any:
    """The columns of a CSV file that have a name, as pyarrow's table of strings."""
    import pyarrow  # a fifth of a second, for those who use it
    from pyarrow import csv

    dialect, names = csv_dialects.find(path), opened.columns
    wanted = tuple(name for name in names if name)
    if dialect.blanks or not lines.is_utf_8(path):
        return pyarrow.table({name: pyarrow.array(x) for name, x in opened.scan((), wanted).kept.items()})
    read = csv.ReadOptions(skip_rows=dialect.skipped)
    form = csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quoted and '"',
        newlines_in_values=dialect.quoted,
    )
    types = dict.fromkeys(csv_files.raw_header(path, dialect), pyarrow.string())
    convert = csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    try:
        table = csv.read_csv(path, read_options=read, parse_options=form, convert_options=convert)
        return table.rename_columns(list(names)).select([i for i, name in enumerate(names) if name])
    except (pyarrow.ArrowException, OSError) as error:
        opened.scan((), ())  # says which line it is
        raise InputError(f"{path}: cannot be read as CSV: {str(error).splitlines()[0]}") from None


def _number(text: str, name: str, i: int, where: Callable[[int], str]) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    if text.strip().lower() in _MISSING:
        return np.nan
    raise _no_number(name, where(i), repr(text[:60]))


def _no_number(name: str, where: str, what: str) -> InputError:
    return InputError(
        f"{where}: the column {name!r} has no number, but {what}; name the columns of numbers in data.columns, or, if "
        "the examples are texts, the text's column in data.text_key"
    )
