"""Columns of predictions as files: CSV, JSON lines, Parquet and arrays of NumPy, each as parts that make up the whole.

A part is the bytes of some rows, and depends on these rows alone. What is joined from the same parts is the same.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.evaluators.gather import FILL
from jtransfer.predicting.columns import rows

Columns = Mapping[str, Any]
SEPARATOR = "|"  # of several classes in a cell of a CSV file


class Format(NamedTuple):
    """A format of files.

    Attributes:
      encode: A function from the columns of some rows, and whether they are the first, to the bytes of a part.
      join: A function from parts, each as a function that reads it, and an open file, which writes the whole.
      raw: Whether the file has the arrays as the task keeps them, and not columns.
    """

    encode: Callable[[Columns, bool], bytes]
    join: Callable[[Sequence[Callable[[], bytes]], Any], None]
    raw: bool = False


def of_file(file: str) -> Format:
    """Returns the format of a file by its suffix.

    Raises:
      InputError: It has none of the suffixes.
    """
    suffix = os.path.splitext(file)[1].lower()
    if suffix not in FORMATS:
        raise InputError(f"--save={file}: give a file that ends in {', '.join(FORMATS)}")
    return FORMATS[suffix]


def as_text(value: Any) -> Any:
    """Returns a value of a cell as JSON has it: numbers of 32 bits with as many digits as tell them from others."""
    if isinstance(value, np.ndarray):
        return [as_text(item) for item in value]
    if isinstance(value, np.floating):
        return (float(str(value)) if value.dtype.itemsize < 8 else float(value)) if np.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, Mapping):
        return {str(key): as_text(item) for key, item in value.items()}
    return [as_text(item) for item in value] if isinstance(value, list | tuple) else value


def json_line(row: Mapping[str, Any]) -> str:
    """Returns a row, of values as `as_text` gives them, as a line of JSON without its end."""
    return json.dumps(row, ensure_ascii=False, default=str)


def csv_line(cells: Iterable[Any]) -> str:
    """Returns cells as a line of CSV with its end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([_cell(cell) for cell in cells])
    return out.getvalue()


def widened(columns: Columns) -> dict[str, Any]:
    """Returns columns in which each number of a vector has a column of its own, "embedding_0", …."""
    wide: dict[str, Any] = {}
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.ndim == 2:
            wide |= {f"{name}_{i}": column for i, column in enumerate(values.T)}
        else:
            wide[name] = values
    return wide


def _cell(value: Any) -> str:
    value = as_text(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return SEPARATOR.join(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


def _csv(columns: Columns, first: bool) -> bytes:
    wide = widened(columns)
    lines = [csv_line(wide)] if first else []
    return "".join([*lines, *map(csv_line, zip(*wide.values(), strict=True))]).encode("utf-8", "surrogateescape")


def _jsonl(columns: Columns, first: bool) -> bytes:
    return "".join(f"{json_line(row)}\n" for row in rows(columns, as_text)).encode("utf-8", "surrogateescape")


def _concatenated(parts: Sequence[Callable[[], bytes]], file: Any) -> None:
    for part in parts:
        file.write(part())


def _parquet(columns: Columns, first: bool) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    try:
        table = pyarrow.table({name: _arrow(values) for name, values in columns.items()})
    except pyarrow.ArrowException as error:
        raise InputError(f"a column can't be written as Parquet: {str(error).splitlines()[0]}; take .jsonl") from None
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def _arrow(values: Any) -> Any:
    import pyarrow

    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
        return pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if isinstance(values, np.ndarray):
        return pyarrow.array(values)
    if any(isinstance(value, np.floating) for value in values):
        return pyarrow.array([None if value is None else float(value) for value in values], pyarrow.float32())
    return pyarrow.array(values)


def _parquets(parts: Sequence[Callable[[], bytes]], file: Any) -> None:
    """Joins Parquet files, whose schemas may differ where a column of a part has no value at all."""
    import pyarrow
    import pyarrow.parquet

    try:
        schemas = [pyarrow.parquet.read_schema(io.BytesIO(part())).remove_metadata() for part in parts]
        schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            for part in parts:
                writer.write_table(pyarrow.parquet.read_table(io.BytesIO(part())).cast(schema))
    except pyarrow.ArrowException as error:
        raise InputError(f"a column holds values of several kinds: {str(error).splitlines()[0]}; take .jsonl") from None


def _npz(columns: Columns, first: bool) -> bytes:
    out = io.BytesIO()
    np.savez(out, **{name: _array(values) for name, values in columns.items()})  # pyright: ignore[reportArgumentType]
    return out.getvalue()


def _array(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1 and (kind := next(iter(kinds))) in (int, float, bool, str):
        gap = {int: np.nan, float: np.nan, bool: np.nan, str: ""}[kind]
        return np.array([gap if value is None else value for value in values])
    return np.array([json_line(as_text(value)) if isinstance(value, list | dict) else _cell(value) for value in values])


def _npzs(parts: Sequence[Callable[[], bytes]], file: Any) -> None:
    tables = [dict(np.load(io.BytesIO(part()), allow_pickle=False)) for part in parts]
    whole = {name: tables[0][name] for name in tables[0] if name == "class_names"}
    for name in (name for name in tables[0] if name not in whole):
        arrays = [table[name] for table in tables]
        rest = tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))
        widths = [[(0, 0), *((0, n - m) for n, m in zip(rest, array.shape[1:], strict=True))] for array in arrays]
        whole[name] = np.concatenate(
            [np.pad(a, width, constant_values=FILL) if rest else a for a, width in zip(arrays, widths, strict=True)]
        )
    np.savez(file, **whole)


FORMATS = {
    ".csv": Format(_csv, _concatenated),
    ".jsonl": Format(_jsonl, _concatenated),
    ".parquet": Format(_parquet, _parquets),
    ".npz": Format(_npz, _npzs, raw=True),
}
