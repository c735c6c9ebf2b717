"""Reads texts from Parquet files: labels as whole columns, texts by row group, the last few of which are kept."""

import bisect
import itertools
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.json_lines import check_text
from jtransfer.modalities.text.table import Rows, Table

_TEXTS = ("string", "large_string")
_MOST_BYTES, _MOST_ROWS = 2**30, 50_000_000  # of a row group
_KEPT_BYTES = 512 * 2**20  # of the columns' values, in Arrow's form, for each file


def open_parquet(path: Path) -> Table:
    """Opens a Parquet file as a table.

    The names of classes are those that Hugging Face's `datasets` puts into the schema.

    Args:
      path: The path of the file.

    Raises:
      InputError: It is no Parquet file, or damaged. Reading raises it for a value that is no text.
    """
    import pyarrow  # a fifth of a second, for those who use it
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.ParquetFile(path).schema_arrow
        texts = [field.name for field in schema if str(field.type) in _TEXTS]
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)  # a text that is there often is held once
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    lists = frozenset(field.name for field in schema if pyarrow.types.is_nested(field.type))

    def scan(wanted: tuple[str, ...], kept: tuple[str, ...]) -> Rows:
        _check_sizes(file, path, {*wanted, *kept})
        try:
            columns = {name: _values(file.read(columns=[name]).column(name)) for name in kept}
            for name in wanted:
                _check_texts(file, path, name, name in lists)
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: is damaged: {str(error).splitlines()[0]}") from None
        group = _groups(file, path, wanted)
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        ends = list(itertools.accumulate(sizes))

        def read(i: int) -> dict[str, Any]:
            g = bisect.bisect_right(ends, i)
            values = group(g)
            row = {name: values[name][i - ends[g] + sizes[g]].as_py() for name in wanted}
            for name, value in row.items():
                check_text(value, name in lists, f"{path}, row {i + 1}, {name!r}")
            return row

        return Rows(file.metadata.num_rows, read, columns, lambda i: f"{path}, row {i + 1}")

    return Table(path, tuple(schema.names), lists, scan, _class_names(schema.metadata or {}))


def _check_sizes(file: Any, path: Path, names: set[str]) -> None:
    """Checks how much the columns of a row group, which are read together, are when they are unpacked."""
    for g in range(file.num_row_groups):
        group = file.metadata.row_group(g)
        columns = [group.column(i) for i in range(group.num_columns)]
        size = sum(one.total_uncompressed_size for one in columns if one.path_in_schema.split(".")[0] in names)
        if size > _MOST_BYTES or group.num_rows > _MOST_ROWS:
            raise InputError(
                f"{path}: its row group {g} has {group.num_rows:,} rows, {size:,} bytes; at most {_MOST_ROWS:,} and "
                f"{_MOST_BYTES:,} are read: write the file with a smaller row_group_size"
            )


def _values(column: Any) -> list[Any]:
    """The values of a column, each of which is one object however often it is there."""
    found: list[Any] = []
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            values = [*chunk.dictionary.to_pylist(), None]
            found += [values[-1 if i is None else i] for i in chunk.indices.to_pylist()]
        else:
            found += chunk.to_pylist()
    return found


def _check_texts(file: Any, path: Path, name: str, words: bool) -> None:
    """Checks that a column is one of texts, or of lists of words, without gaps."""
    kind = file.schema_arrow.field(name).type
    if str(getattr(kind, "value_type", kind)) not in ("string", "large_string", "string_view", "null"):
        what = "lists of words" if words else "texts"
        raise InputError(f"{path}, row 1, {name!r}: must be {what}, not {kind}; set data.text_key")
    empty = _nulls(file, name)
    if empty:
        values = file.read(columns=[name]).column(name).is_null().to_pylist()
        what = f"{empty:,} of {len(values):,} are missing; fill them in, or remove the rows"
        raise InputError(f"{path}, row {values.index(True) + 1}, {name!r}: must be a text, not None: {what}")


def _nulls(file: Any, name: str) -> int:
    """The number of missing values of a column, by the file's own statistics if it has them."""
    leaf = file.schema.names.index(name) if name in file.schema.names else None
    groups = [file.metadata.row_group(g) for g in range(file.num_row_groups)]
    known = [] if leaf is None else [group.column(leaf).statistics for group in groups]
    stated = [found.null_count for found in known if found is not None and found.has_null_count]
    return sum(stated) if len(stated) == len(groups) else file.read(columns=[name]).column(name).null_count


def _groups(file: Any, path: Path, wanted: tuple[str, ...]) -> Any:
    """`group(g)`: the wanted columns of a row group."""
    import pyarrow

    lock, held = threading.Lock(), OrderedDict()

    def group(g: int) -> dict[str, Any]:
        with lock:
            if g not in held:
                try:
                    table = file.read_row_group(g, columns=list(wanted))
                except (pyarrow.ArrowException, OSError) as error:
                    raise InputError(f"{path}, row group {g}: is damaged: {str(error).splitlines()[0]}") from None
                held[g] = table.nbytes, {name: table.column(name) for name in wanted}
                while len(held) > 1 and sum(size for size, _ in held.values()) > _KEPT_BYTES:
                    held.popitem(last=False)
            held.move_to_end(g)
            return held[g][1]

    return group


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        inner = {name: feature.get("feature", feature) for name, feature in features.items()}
        return {name: list(map(str, feature["names"])) for name, feature in inner.items() if "names" in feature}
    except (ValueError, AttributeError, TypeError):
        return {}
