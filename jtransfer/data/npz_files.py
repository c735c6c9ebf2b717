"""Reads `.npz` files with arrays of inputs and of labels: for each split, as Keras (`x_train`, `y_train`) and MedMNIST
(`train_images`, `train_labels`) have them, or for all examples. Beside an array of inputs may lie one of their
partners, such as `x_train_pair`; then labels may be missing."""

import dataclasses
import functools
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line
from jtransfer.data import labels as label_columns
from jtransfer.data import npz_members
from jtransfer.data.labels import GUESS, Asked, Labels
from jtransfer.data.source import Source, unlabelled

_SPLITS = ("train", "val", "valid", "validation", "test")
_INPUTS, _LABELS = ("x", "X", "images", "features"), ("y", "Y", "labels")
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
      path: The path of the file.
    """

    where: str
    inputs: dict[str, np.ndarray]
    partners: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    class_names: np.ndarray | None
    held: Sequence[str]
    path: Path


def read(location: str, pairs: Sequence[tuple[str, str]]) -> Arrays:
    """Returns the arrays of a file. A file with pickled objects is refused.

    The splits are "train", "val", "valid", "validation" and "test". The inputs of a split are `x_train`, `train_x`, or
    the same with `X`, `images` or `features`; its labels likewise, with `y`, `Y` or `labels`. Where some splits have
    labels, those without are left out.

    Args:
      location: The path of the file.
      pairs: Pairs of names, of an array of inputs and one of labels, that may hold all examples. They make the split
        "all".

    Raises:
      InputError: The file does not exist or is no `.npz` file, several arrays could be the inputs of a split, or arrays
        that belong together differ in length.
    """
    path, where = Path(location).expanduser(), f"npz:{location}"
    if not path.is_file():
        raise InputError(f"{where}: there is no such file")
    found, held = _read(path)
    places = {s: (_named(held, _INPUTS, s, where), _named(held, _LABELS, s, where)) for s in _SPLITS}
    if whole := [pair for pair in pairs if pair[0] in found]:
        places["all"] = whole[-1]
    there = {s: (x, y) for s, (x, y) in places.items() if x in found and (y in found or x + _PAIR in found)}
    there = {split: pair for split, pair in there.items() if pair[1] in found} or there
    inputs = {split: found[x] for split, (x, _) in there.items()}
    labels = {split: found[y] for split, (_, y) in there.items() if y in found}
    partners = {split: found[x + _PAIR] for split, (x, _) in there.items() if x + _PAIR in found}
    for arrays, what in ((labels, "labels"), (partners, "partners")):
        for split, array in arrays.items():
            if array.ndim and inputs[split].ndim and len(array) != len(inputs[split]):
                raise InputError(f"{where}, split {split}: {len(inputs[split])} examples but {len(array)} {what}")
    return Arrays(where, inputs, partners, labels, found.get("class_names"), held, path)


def encode(arrays: Arrays, asked: Asked = GUESS) -> Labels | None:
    """Turns the labels of a file into targets; None if it has no labels.

    Labels [N] or [N, 1] are read as those of a column of a file (`labels.encode`): whole numbers and strings are
    classes, and decimal numbers are numbers for regression, unless the config asks for something else. An array [N, C]
    of values from 0 to 1 has a value for each class that an example may have, or one 1 in each row if one class is
    asked for.

    Args:
      arrays: The arrays of the file.
      asked: What the config says of labels.

    Raises:
      InputError: The labels are of another kind, or out of range.
    """
    if not arrays.labels:
        return None
    where, names = arrays.where, arrays.class_names
    known = None if names is None else [_text(name) for name in names.tolist()]
    found = {split: _columns(y) for split, y in arrays.labels.items()}
    if any(y.dtype.kind not in "biufUS" or y.ndim not in (1, 2) for y in found.values()):
        kinds = ", ".join(sorted({f"{y.dtype} {list(y.shape)}" for y in arrays.labels.values()}))
        raise InputError(f"{where}: labels must be integers, strings or numbers [N], or 0 to 1 [N, C], not {kinds}")
    if any(y.ndim == 2 for y in found.values()):
        return _several(found, known, where, asked)
    columns = {split: [(y.tolist(), _place(where, split))] for split, y in found.items()}
    return label_columns.encode(columns, "label", known, asked=asked)


def source(arrays: Arrays, labels: Labels | None, split: str, example: Callable[[int], dict[str, Any]]) -> Source:
    """Returns the examples of a split.

    Args:
      arrays: The arrays of the file.
      labels: The targets of all splits, from `encode`.
      split: The name of the split.
      example: A function from the number of an example of the file to all that it holds but the label.
    """
    further = [name for name in arrays.held if not _wanted(name)]
    column = functools.partial(_column, arrays, split, further) if further else None
    inputs = arrays.inputs[split]

    def fingerprint(i: int) -> bytes:
        return hashlib.blake2b(inputs[i].tobytes(), digest_size=16).digest()

    if labels is None:
        return dataclasses.replace(unlabelled(len(inputs), example), column=column, fingerprint=fingerprint)
    return label_columns.labelled(example, labels, split, _place(arrays.where, split), column, fingerprint)


def _column(arrays: Arrays, split: str, further: Sequence[str], name: str) -> list:
    """The values of another array of the file, one for each example of a split: `name`, `name_train` or `train_name`.

    Raises:
      InputError: There is no such array, or it is not [N].
    """
    named = [key for key in (f"{name}_{split}", f"{split}_{name}", name) if key in further]
    if not named:
        raise InputError(f"{arrays.where}: has no further array {name!r}, only {', '.join(further)}")
    values = _columns(_load(arrays.path, named[0].__eq__)[0][named[0]])
    if values.shape != (len(arrays.inputs[split]),):
        raise InputError(
            f"{arrays.where}, split {split}: {named[0]!r} is {list(values.shape)}, and there are "
            f"{len(arrays.inputs[split])} examples"
        )
    return values.tolist()


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that may be asked for, and the names of all."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"npz:{path}: cannot be read as an .npz file: it is no zip archive, or not whole")
    return _load(path, _wanted)


def _load(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, np.ndarray], list[str]]:
    try:
        npz_members.check(path, _wanted)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            return {key: loaded[key] for key in loaded.files if wanted(key)}, sorted(loaded.files)
    except _UNREADABLE as error:
        said = one_line(str(error), 300)
        raise InputError(f"npz:{path}: cannot be read as an .npz file without pickled objects: {said}") from None


def _wanted(key: str) -> bool:
    parts = {*key.removesuffix(_PAIR).split("_")}
    return key == "class_names" or (bool(parts & {*_INPUTS, *_LABELS}) and parts <= {*_INPUTS, *_LABELS, *_SPLITS})


def _named(held: Sequence[str], words: Sequence[str], split: str, where: str) -> str:
    """The array of a split, named by one of some words; "" if there is none."""
    found = [name for word in words for name in (f"{word}_{split}", f"{split}_{word}") if name in held]
    if len(found) > 1:
        raise InputError(f"{where}, split {split}: {' and '.join(found)} could each be the array; keep one")
    return found[0] if found else ""


def _place(where: str, split: str) -> Callable[[int], str]:
    return lambda i: f"{where}, split {split}, example {i}"


def _columns(y: np.ndarray) -> np.ndarray:
    """Labels without axes of length 1, but for the first."""
    y = y.reshape(len(y), *(size for size in y.shape[1:] if size != 1)) if y.ndim > 1 else y
    return y.astype(np.uint8) if y.dtype.kind == "b" else y


def _several(found: dict[str, np.ndarray], names: list[str] | None, where: str, asked: Asked) -> Labels:
    widths = {y.shape[1:] for y in found.values()}
    inside = [y.dtype.kind in "iuf" and ((y >= 0) & (y <= 1) | np.isnan(y)).all() for y in found.values()]
    if len(widths) > 1 or not all(inside):
        raise InputError(f"{where}: labels [N, C] must have a number from 0 to 1 for each of the same C classes")
    (width,) = next(iter(widths))
    known = [str(i) for i in range(width)] if names is None else names
    if len(known) != width:
        raise InputError(f"{where}: {len(known)} class_names for labels of {width} classes")
    if all(np.isin(y, (0, 1)).all() for y in found.values()) and asked.kind != "class":
        values = {split: y.astype(np.float32) for split, y in found.items()}
        one_hot = all((y.sum(1) == 1).all() for y in values.values())
        note = f"labels [N, {width}]: taken as {width} classes of which an example may have several"
        note += "; every example has exactly one: if that is always so, set task='classify'" if one_hot else ""
        return Labels("classes", known, values, notes=() if asked.kind else (note,))
    columns = {
        name: {split: [(y[:, k].tolist(), _place(where, split))] for split, y in found.items()}
        for k, name in enumerate(known)
    }
    if asked.kind == "class" or any(np.isnan(y).any() for y in found.values()):
        return label_columns.several(columns, asked)
    return Labels("classes", known, {split: y.astype(np.float32) for split, y in found.items()})


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
