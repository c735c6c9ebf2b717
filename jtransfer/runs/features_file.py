"""Files of features, which any library reads, and our own readers of vectors."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.runs.extraction import Table
from jtransfer.runs.stream import SPLITS

NPZ, PARQUET = ".npz", ".parquet"
SPLIT = "{split}"  # in the name of a file


def check_file(to: str, splits: list[str]) -> None:
    """Checks where features are to be written.

    Args:
      to: The path of the file.
      splits: The splits; none are those of the config.

    Raises:
      InputError: It is no file of a kind that is written, its folder is missing, or it can't hold the splits.
    """
    place = whole_file.epath.Path(to)
    if place.suffix not in (NPZ, PARQUET):
        raise InputError(f"--to={to}: give a file that ends in {NPZ} or {PARQUET}")
    if not place.parent.is_dir():
        raise InputError(f"--to={to}: there is no folder {place.parent}")
    if place.is_dir():
        raise InputError(f"--to={to} is a folder; give a file")
    if place.suffix == PARQUET and len(splits) != 1 and SPLIT not in place.name:
        raise InputError(
            f"--to={to}: a {PARQUET} file holds one split; write --to=DIR/{SPLIT}{PARQUET}, or one --split"
        )
    others = [split for split in splits if split not in SPLITS]
    if others and len(splits) > 1:
        raise InputError(f"--split: {others[0]!r} is an expression; of several splits, each is one of {SPLITS}")


def write(tables: Mapping[str, Table], to: str) -> list[str]:
    """Writes features, and returns the paths of the files. The first process writes.

    An `.npz` file has `features_train`, `labels_train` and `index_train` for each split, or `features`, `labels` and
    `index` of an expression, and `class_names`. A Parquet file has columns f0, f1, … and "label", in the order of the
    split.

    Args:
      tables: Split → its features.
      to: The path of the file.

    Raises:
      InputError: It cannot be written, or has no place for several labels of an example.
    """
    suffix = whole_file.epath.Path(to).suffix
    files = {to: tables} if suffix == NPZ else {to.replace(SPLIT, name): {name: one} for name, one in tables.items()}
    if suffix == PARQUET and any(one.labels is not None and one.labels.ndim > 1 for one in tables.values()):
        raise InputError(f"--to={to}: several labels of an example have no column; write {NPZ}")
    for path, held in files.items() if jax.process_index() == 0 else ():
        content = _arrays(held) if suffix == NPZ else None
        save = functools.partial(_save_npz, arrays=content) if content else functools.partial(_save_parquet, held=held)
        whole_file.write(path, save)
    return list(files)


def _arrays(tables: Mapping[str, Table]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for split, table in tables.items():
        end = f"_{split}" if split in SPLITS else ""
        found |= {f"features{end}": table.features, f"index{end}": table.index}
        if table.labels is not None:
            found[f"labels{end}"] = table.labels
    names = next(iter(tables.values())).class_names
    return found | ({"class_names": np.array(names)} if names else {})


def _save_npz(file: Any, arrays: Mapping[str, np.ndarray]) -> None:
    held: dict[str, Any] = dict(arrays)
    np.savez(file, **held)


def _save_parquet(file: Any, held: Mapping[str, Table]) -> None:
    import pyarrow
    import pyarrow.parquet

    (table,) = held.values()
    columns = {f"f{i}": column for i, column in enumerate(table.features.T)}
    features: dict[str, Any] = {name: {"dtype": "float32", "_type": "Value"} for name in columns}
    if table.labels is not None:
        columns["label"] = table.labels
        kind = {"names": table.class_names, "_type": "ClassLabel"}
        features["label"] = kind if table.class_names and table.labels.dtype.kind == "i" else features["f0"]
    made = pyarrow.table(columns)
    info = json.dumps({"info": {"features": features}})
    pyarrow.parquet.write_table(made.replace_schema_metadata({"huggingface": info}), file)
