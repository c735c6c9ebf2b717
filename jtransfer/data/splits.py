"""Parts of data sets: `train`, `train[:90%]`, `train+test[100:200]`, `all`, as in TFDS; and parts that are drawn, as
`random(:80%, seed=0)`, `stratified(80%:)`, `per_class(:9)`, `grouped(patient, :80%)`, `stratified(folds=5, fold=0)`."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.data import partition, split_names
from jtransfer.data.source import Source, concatenate, picked

_PART = re.compile(r"\s*([\w-]+)\s*(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?\s*")
_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_SLICE = re.compile(r"(-?\d+%?)?\s*:\s*(-?\d+%?)?|(\d+%?)")
_SETTING = re.compile(r"(\w+)\s*=\s*(\d+)")
_METHODS = ("random", "stratified", "per_class", "grouped")
_SETTINGS = ("seed", "folds", "fold", "except")


class _Call(NamedTuple):
    """One call of a method: its name, what it is applied to, the slice that is taken, the column, the settings."""

    method: str
    inner: str
    bounds: tuple[str | None, str | None] | None
    column: str
    settings: dict[str, int]


def take(split: str, sources: Mapping[str, Source], name: str) -> Source:
    """Returns the examples that an expression selects.

    An expression is one or several parts, joined by "+". A part is one of:

    - `train`, `train[:90%]`, `test[100:200]` or `all`: a split or a slice of it; see `select`.
    - `random(:80%, seed=0)` and `random(80%:, seed=0)`: a slice of the examples in a random order, and the rest of
      them. Parts with the same seed have no example in common where their slices have none. `random(80%)` is short for
      `random(:80%)`, and the seed is 0 where none is given.
    - `stratified(:80%, seed=0)`: the same, with every class in proportion.
    - `per_class(:20, seed=0)`: 20 examples of each class, and with `per_class(20:, seed=0)` the rest.
    - `grouped(patient, :80%, seed=0)`: the same for whole groups, the examples with the same value in a column; so no
      group is in both parts. A slice has the groups whose middle lies in it, where all groups lie side by side in a
      random order. What columns there are depends on the data: those of a table, features of a TFDS data set, and of a
      folder of images "folder" (that which holds the file) and "prefix" (the file's name up to the first "_", "-", "."
      or space).
    - `stratified(folds=5, fold=0, seed=0)`: one of five folds, and with `except=0` in place of `fold=0` the four
      others; of `random` and `grouped` likewise. Folds are numbered from 0.

    All of these are of the whole data set; `random(train, :80%)` and `grouped(patient, train[:90%]+test, :80%)` are of
    another expression. The examples of a drawn part keep their order. It depends on the seed and the number of
    examples, for `stratified` also on the labels, and is the same on every machine.

    Args:
      split: The expression.
      sources: Split → its examples.
      name: The name of the data set, for errors.

    Raises:
      InputError: It is no such expression, there is no such split or column, or nothing is selected.
    """
    sizes = {part: len(source) for part, source in sources.items()}
    starts = np.cumsum([0, *sizes.values()]).tolist()
    numbered = {
        part: dataclasses.replace(source, numbers=np.arange(start, start + len(source)))
        for (part, source), start in zip(sources.items(), starts, strict=False)
    }
    found = _take(split, numbered, sizes, name)
    return dataclasses.replace(found, notes=tuple(dict.fromkeys(n for s in sources.values() for n in s.notes)))


def _take(split: str, sources: Mapping[str, Source], sizes: Mapping[str, int], name: str) -> Source:
    parts, where = list(_cut(split, "+")), f"{name}, split {split!r}"
    if not any(_CALL.fullmatch(part) for part in parts):
        return concatenate([(sources[part], start, stop) for part, start, stop in select(split, sizes, name)])
    taken = []
    for part in parts:
        call = _CALL.fullmatch(part)
        if call:
            asked = _parsed(call[1], call[2], where)
            inner = _take(asked.inner, sources, sizes, name)
            taken.append(picked(inner, _chosen(asked, inner, where)))
        else:
            taken.append(_take(part, sources, sizes, name))
    return taken[0] if len(taken) == 1 else concatenate([(source, 0, len(source)) for source in taken])


def select(split: str, sizes: Mapping[str, int], name: str) -> list[tuple[str, int, int]]:
    """Returns the parts of a data set that an expression of slices selects.

    Bounds are numbers of examples, or percentages of the split, which are rounded to the nearest example as in TFDS;
    negative ones count from the end. "all" means all splits in order, unless there is a split of that name. Where there
    is no split of a name, it stands for the one that means the same, as "validation" for "val"
    (`split_names.meaning`).

    Args:
      split: The expression.
      sizes: Split → the number of its examples.
      name: The name of the data set, for errors.

    Returns:
      Triples (split, start, stop), where `stop` is excluded.

    Raises:
      InputError: It is no such expression, there is no such split, a bound lies outside of the split, or nothing is
        selected.
    """
    pieces = [piece for part in split.split("+") for piece in _part(part, sizes, f"{name}, split {split!r}")]
    if not pieces:
        raise InputError(f"{name}, split {split!r}: selects no example (splits: {_listed(sizes)})")
    return pieces


def _part(part: str, sizes: Mapping[str, int], where: str) -> list[tuple[str, int, int]]:
    parsed = _PART.fullmatch(part)
    if not parsed:
        raise InputError(
            f"{where}: write a split as 'train', 'train[:90%]' or 'train[100:200]+test', or as "
            "'random(:80%, seed=0)', 'stratified(80%:)' or 'grouped(column, folds=5, fold=0)'"
        )
    split, first, last = parsed.groups()
    found = split_names.resolve(split, sizes)
    if found is None and split != "all":
        raise InputError(f"{where}: there is no split {split!r}; splits: {_listed(sizes)}{_hint(split, sizes)}")
    members = list(sizes) if found is None else [found]
    total = sum(sizes[member] for member in members)
    start = 0 if first is None else _bound(first, total, where)
    stop = total if last is None else _bound(last, total, where)
    pieces, offset = [], 0
    for member in members:
        low, high = max(start - offset, 0), min(stop - offset, sizes[member])
        if low < high:
            pieces.append((member, low, high))
        offset += sizes[member]
    return pieces


def _hint(split: str, sizes: Mapping[str, int]) -> str:
    if list(sizes) == ["all"]:
        return "; cut it, such as data.train='stratified(:80%)' and data.test='stratified(80%:)'"
    wanted = split_names.meaning(split)
    other = next((name for name in sizes if {wanted, split_names.meaning(name)} == {"test", "validation"}), None)
    if wanted == "test" and other:
        return f"; that may be data.test={other!r}"
    if wanted in ("test", "validation") and (train := split_names.resolve("train", sizes)):
        return f"; hold a part out: data.train='random({train}, :90%)', data.{wanted}='random({train}, 90%:)'"
    return ""


def _bound(text: str, total: int, where: str) -> int:
    number = int(text.rstrip("%"))
    bound = round(total * number / 100) if text.endswith("%") else number
    if abs(bound) > total:
        raise InputError(f"{where}: the bound {text} lies outside the {total} examples")
    return bound + total if text.startswith("-") else bound


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} ({size})" for split, size in sizes.items())


def _cut(text: str, at: str) -> Iterator[str]:
    """The parts of a text between separators that stand outside of brackets."""
    depth, part = 0, ""
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == at and depth == 0:
            yield part
            part = ""
        else:
            part += letter
    yield part


def _parsed(method: str, arguments: str, where: str) -> _Call:
    if method not in _METHODS:
        raise InputError(f"{where}: {unknown('way to draw examples', method, _METHODS)}")
    names, bounds, settings = [], None, {}
    for argument in map(str.strip, _cut(arguments, ",")):
        if cut := _SLICE.fullmatch(argument):
            bounds = (None, cut[3]) if cut[3] else (cut[1], cut[2])
        elif setting := _SETTING.fullmatch(argument):
            settings[setting[1]] = int(setting[2])
        else:
            names.append(argument.strip("'\""))
    for key in settings.keys() - set(_SETTINGS):
        raise InputError(f"{where}: {unknown(f'setting of {method}(…)', key, _SETTINGS)}")
    column = names.pop(0) if method == "grouped" and names else ""
    folded = method != "per_class" and "folds" in settings and ("fold" in settings) != ("except" in settings)
    stray = not folded and settings.keys() - {"seed"}
    if stray or folded == (bounds is not None) or len(names) > 1 or (method == "grouped") != bool(column):
        if method == "per_class":
            raise InputError(
                f"{where}: write per_class(:20, seed=0), 20 examples of each class, or per_class(train, :20)"
            )
        given = "column, " if method == "grouped" else ""
        raise InputError(
            f"{where}: write {method}({given}:80%, seed=0) and {method}({given}80%:, seed=0), or "
            f"{method}({given}folds=5, except=0) and {method}({given}folds=5, fold=0); "
            f"{method}({given}train, :80%) is a part of the split 'train'"
        )
    return _Call(method, names[0] if names else "all", bounds, column, settings)


def _chosen(call: _Call, source: Source, where: str) -> np.ndarray:
    """The numbers of the examples that are taken, ascending."""
    seed, size = call.settings.get("seed", 0), len(source)
    key: list = [_key(call, source, where)] if call.method != "random" else [size]
    if call.bounds is None:
        folds = call.settings["folds"]
        number = call.settings.get("fold", call.settings.get("except", 0))
        most = len(np.unique(key[0])) if call.method == "grouped" else size
        if not 2 <= folds <= most or number >= folds:
            raise InputError(
                f"{where}: folds={folds}, fold {number}: give 2 to {most} folds, and one from 0 to folds - 1"
            )
        made: Callable = getattr(partition, f"{call.method}_folds")
        wanted = (made(*key, folds, seed) == number) == ("fold" in call.settings)
    elif call.method == "per_class":
        start, stop = _bounds_of_classes(call.bounds, source, where)
        places = partition.per_class(key[0], seed)
        wanted = (start <= places) & (places < stop)
    else:
        first, last = call.bounds
        start = 0 if first is None else _bound(first, size, where)
        stop = size if last is None else _bound(last, size, where)
        places = getattr(partition, call.method)(*key, seed)
        wanted = (start <= places) & (places < stop)
    if not wanted.any():
        whole = f" (the {len(np.unique(key[0]))} groups stay whole)" if call.method == "grouped" else ""
        raise InputError(f"{where}: {call.method}(…) selects none of the {size} examples{whole}")
    return np.flatnonzero(wanted)


def _bounds_of_classes(bounds: tuple[str | None, str | None], source: Source, where: str) -> tuple[int, int]:
    """The first and the last number, within each class, of the examples that are taken."""
    numbers = [int(bound) if bound and bound.isdecimal() else 0 if bound is None else -1 for bound in bounds]
    if min(numbers) < 0:
        raise InputError(f"{where}: per_class(…) takes a number of examples of each class, as per_class(:20, seed=0)")
    sizes = np.bincount(source.labels, minlength=len(source.class_names))
    least = min(np.flatnonzero(sizes).tolist(), key=sizes.__getitem__)
    if max(numbers) > sizes[least]:
        raise InputError(
            f"{where}: per_class(…) asks for {max(numbers)} examples of each class, and the class "
            f"{source.class_names[least]!r} has {sizes[least]}"
        )
    return numbers[0], len(source) if bounds[1] is None else numbers[1]


def _key(call: _Call, source: Source, where: str) -> np.ndarray:
    """The class or the group of each example."""
    if call.method in ("stratified", "per_class"):
        if source.label_kind != "class":
            raise InputError(f"{where}: {call.method}(…) needs one class for each example; use random(…)")
        return source.labels
    if source.column is None:
        raise InputError(f"{where}: the data set has no columns to group by; tables, npz:, folder: and TFDS data have")
    try:
        values = [str(value).strip() for value in source.column(call.column)]
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    for i, value in enumerate(values):
        if value.lower() in ("", "none", "nan"):
            raise InputError(f"{where}: example {i} has no {call.column!r}, so its group is unknown; fill it")
    return np.unique(values, return_inverse=True)[1]
