"""Reads `.npz` files with arrays `x_train`, `y_train`, `x_test` and `y_test`, as Keras has them, or with two arrays for
all examples. Beside an array of inputs may lie one of their partners, such as `x_train_pair`; then labels may be
missing."""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source, unlabelled

_SPLITS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
_PAIR = "_pair"  # after the name of an array of inputs
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class Arrays(NamedTuple):
    """The arrays of a file, by split.

    Attributes:
      where: The name of the data set, for error messages.
      inputs: The inputs of each split, [N, …].
      partners: What belongs together with each input, [N, …], for splits that have it.
      labels: The labels of each split, [N] or [N, C]; empty if the file has none.
      class_names: The array `class_names`; None if the file has none.
      held: The names of all arrays of the file.
    """

    where: str
    inputs: dict[str, np.ndarray]
    partners: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    class_names: np.ndarray | None
    held: Sequence[str]


class Labels(NamedTuple):
    """The targets of all splits.

    Attributes:
      kind: The kind of the labels (`Source.label_kind`).
      class_names: The names of the classes.
      values: The targets of each split, [N] or [N, C].
    """

    kind: str
    class_names: list[str]
    values: dict[str, np.ndarray]


def read(location: str, pairs: Sequence[tuple[str, str]]) -> Arrays:
    """Returns the arrays of a file. A file with pickled objects is refused.

    Where some splits have labels, those without are left out.

    Args:
      location: The path of the file.
      pairs: Pairs of names, of an array of inputs and one of labels, that may hold all examples. They make the split
        "all".

    Raises:
      InputError: The file does not exist or is no `.npz` file, or arrays that belong together differ in length.
    """
    path, where = Path(location).expanduser(), f"npz:{location}"
    if not path.is_file():
        raise InputError(f"{where}: there is no such file")
    every = (*_SPLITS.values(), *pairs)
    wanted = {"class_names", *(name for x, y in every for name in (x, x + _PAIR, y))}
    found, held = _read(path, wanted)
    named = [*_SPLITS.items(), *(("all", pair) for pair in pairs)]
    there = {split: (x, y) for split, (x, y) in named if x in found and (y in found or x + _PAIR in found)}
    there = {split: pair for split, pair in there.items() if pair[1] in found} or there
    inputs = {split: found[x] for split, (x, _) in there.items()}
    labels = {split: found[y] for split, (_, y) in there.items() if y in found}
    partners = {split: found[x + _PAIR] for split, (x, _) in there.items() if x + _PAIR in found}
    for arrays, what in ((labels, "labels"), (partners, "partners")):
        for split, array in arrays.items():
            if array.ndim and inputs[split].ndim and len(array) != len(inputs[split]):
                raise InputError(f"{where}, split {split}: {len(inputs[split])} examples but {len(array)} {what}")
    return Arrays(where, inputs, partners, labels, found.get("class_names"), held)


def encode(arrays: Arrays) -> Labels | None:
    """Turns the labels of a file into targets; None if it has no labels.

    Whole numbers [N] or [N, 1] from 0 on are classes, and so are strings, in sorted order. Decimal numbers [N] are
    numbers for regression. An array [N, C] of values from 0 to 1 has a value for each class that an example may have.

    Args:
      arrays: The arrays of the file.

    Raises:
      InputError: The labels are of another kind, or out of range.
    """
    if not arrays.labels:
        return None
    where, names = arrays.where, arrays.class_names
    labels = {split: y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for split, y in arrays.labels.items()}
    every = np.concatenate([y.reshape(-1) for y in labels.values()])
    if every.dtype.kind not in "biufU" or {y.ndim for y in labels.values()} - {1, 2}:
        raise InputError(
            f"{where}: labels must be integers, strings or numbers [N], or 0 to 1 [N, C], not {every.dtype}"
        )
    if any(y.ndim == 2 for y in labels.values()):
        return _several(labels, names, where)
    if every.dtype.kind == "f":
        return Labels("number", ["label"], {split: y.astype(np.float32) for split, y in labels.items()})
    return _classes(labels, names, where, every)


def source(arrays: Arrays, labels: Labels | None, split: str, example: Callable[[int], dict[str, Any]]) -> Source:
    """Returns the examples of a split.

    Args:
      arrays: The arrays of the file.
      labels: The targets of all splits, from `encode`.
      split: The name of the split.
      example: A function from the number of an example to all that it holds but the label.
    """
    if labels is None:
        return unlabelled(len(arrays.inputs[split]), example)
    values, plain = labels.values[split], {"class": int, "number": float}.get(labels.kind, np.asarray)

    def read(index: int) -> dict[str, Any]:
        return {**example(index), "label": plain(values[index])}

    return Source(len(values), read, labels.class_names, lambda start, stop: values[start:stop], labels.kind)


def _read(path: Path, wanted: set[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    if not zipfile.is_zipfile(path):
        raise InputError(f"npz:{path}: cannot be read as an .npz file: it is no zip archive, or not whole")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            return {key: loaded[key] for key in loaded.files if key in wanted}, sorted(loaded.files)
    except _UNREADABLE as error:
        raise InputError(f"npz:{path}: cannot be read as an .npz file without pickled objects: {error}") from None


def _several(labels: Mapping[str, np.ndarray], names: np.ndarray | None, where: str) -> Labels:
    widths = {y.shape[1:] for y in labels.values()}
    if len(widths) > 1 or not all(y.dtype.kind != "U" and ((y >= 0) & (y <= 1)).all() for y in labels.values()):
        raise InputError(f"{where}: labels [N, C] must have a number from 0 to 1 for each of the same C classes")
    (width,) = next(iter(widths))
    known = [str(i) for i in range(width)] if names is None else [str(name) for name in names]
    if len(known) != width:
        raise InputError(f"{where}: {len(known)} class_names for labels of {width} classes")
    return Labels("classes", known, {split: y.astype(np.float32) for split, y in labels.items()})


def _classes(labels: Mapping[str, np.ndarray], names: np.ndarray | None, where: str, every: np.ndarray) -> Labels:
    if every.dtype.kind == "U":
        known = sorted(set(every.tolist())) if names is None else [str(name) for name in names]
        if missing := set(every.tolist()) - set(known):
            raise InputError(f"{where}: label {min(missing)!r} is not among class_names")
        number = {name: i for i, name in enumerate(known)}
        values = {split: np.array([number[name] for name in y.tolist()], np.int32) for split, y in labels.items()}
        return Labels("class", known, values)
    every = every.astype(np.int64)
    known = [str(i) for i in range(int(every.max(initial=-1)) + 1)] if names is None else [str(name) for name in names]
    if every.size and not 0 <= every.min() <= every.max() < len(known):
        raise InputError(f"{where}: labels from {every.min()} to {every.max()}; they must be 0 to {len(known) - 1}")
    return Labels("class", known, {split: y.astype(np.int32) for split, y in labels.items()})
