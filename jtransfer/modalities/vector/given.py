"""Vectors as they are given to `predict`: numbers, `.npy` and `.npz` files, and tables."""

import os
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.given import Given, Rows
from jtransfer.modalities.tables import Table
from jtransfer.modalities.text.table import LABELS
from jtransfer.tasks.base import Task

_NAMES = ("features", "x", "x_test", "vectors")  # of arrays of vectors
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


class GivenVectors(Given):
    """The part of the modality of vectors that is about what a user gives to `predict`."""

    suffixes: ClassVar[frozenset[str]] = frozenset((".npy", ".npz"))
    mean: np.ndarray | None
    columns: str

    def read(self, given: str, task: Task) -> dict[str, Any]:
        """Returns the example of a `.npy` file, or of numbers separated by commas."""
        return {"vector": vector_of(given, self.width)}

    @property
    def width(self) -> int:
        """The number of numbers of a vector."""
        assert self.mean is not None, "open the modality first"
        return len(self.mean)

    def many(self, file: str) -> Sequence[dict[str, Any]] | None:
        if not file.lower().endswith((".npy", ".npz")) or not os.path.isfile(file):
            return None
        array = _loaded(file, several=True)
        if array.ndim < 2:
            return None
        vectors = checked(array, (len(array), self.width), file)
        return [{"vector": vector} for vector in vectors]

    def listed(self, folder: str) -> list[str]:
        found = (path for path in Path(folder).rglob("*") if path.suffix.lower() in self.suffixes and path.is_file())
        return sorted(str(path) for path in found if not any(part.startswith(".") for part in path.parts))

    def of_table(self, table: Table, task: Task, spec: Mapping[str, Any]) -> Rows:
        names = self._columns(table, spec)
        columns = [table.columns[name] for name in names]

        def read(i: int) -> dict[str, Any]:
            cells = [column[i] for column in columns]
            for name, cell in zip(names, cells, strict=True):
                if not _is_number(cell):
                    raise InputError(f"{table.where(i)}: the column {name!r} has no number, but {cell!r:.60}")
            return {"vector": checked(np.array(list(map(float, cells))), (self.width,), table.where(i))}

        return Rows(list(map(table.where, range(table.size))), read, f"vectors of the columns {', '.join(names)}")

    def _columns(self, table: Table, spec: Mapping[str, Any]) -> list[str]:
        """The columns of numbers: those of `data.columns`, or else all but the label, if they are as many."""
        chosen = [name.strip() for name in self.columns.split(",") if name.strip()]
        for name in chosen:
            if name not in table.columns:
                raise InputError(f"{table.path}: has no column {name!r}, only {', '.join(table.columns)}")
        labels = {*(spec.get("label_key") or "label").split(","), *LABELS}
        free = [name for name, cells in table.columns.items() if name not in labels and _is_number(cells[0])]
        if len(names := chosen or free) != self.width:
            raise InputError(
                f"{table.path}: has {len(names)} columns of numbers, {', '.join(names)}, and the run takes "
                f"{self.width}; name them with --data.columns=A,B,…"
            )
        return names


def vector_of(given: str, size: int) -> np.ndarray:
    """Returns the vector of a `.npy` file, or of numbers separated by commas.

    Args:
      given: The path of the file, or the numbers.
      size: The length that the vector must have.

    Returns:
      float32 [size].

    Raises:
      InputError: It is neither, or not `size` finite numbers.
    """
    values = _loaded(given) if os.path.isfile(given) else _parsed(given)
    return checked(values, (size,), given)


def checked(values: np.ndarray, shape: tuple[int, ...], given: str) -> np.ndarray:
    """Returns float32 values, after checking that they have a shape and are finite."""
    if values.shape != shape:
        raise InputError(f"{given!r:.80} has the shape {list(values.shape)}; the run takes {shape[-1]} numbers")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise InputError(f"{given!r:.80} must be finite numbers; they are {values.dtype}")
    return values.astype(np.float32)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) or (isinstance(cell, str) and _NUMBER.fullmatch(cell) is not None)


def _loaded(path: str, *, several: bool = False) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
        if several and not isinstance(values, np.ndarray):
            with values:
                return values[_named(path, values.files)]
    except (OSError, ValueError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as a .npy file: {error}") from None
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path}: holds several arrays; give a .npy file with one vector")
    return values


def _named(path: str, names: Sequence[str]) -> str:
    known = [name for name in names if name in _NAMES] or (names if len(names) == 1 else [])
    if len(known) != 1:
        raise InputError(
            f"{path}: holds {', '.join(names)}; one of them must be called {' or '.join(_NAMES)}, or give "
            f"--data=npz:{path} --split=test"
        )
    return known[0]


def _parsed(text: str) -> np.ndarray:
    try:
        return np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise InputError(f"{text!r:.80} is neither a .npy file that is there nor numbers separated by commas") from None
