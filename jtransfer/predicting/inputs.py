"""Examples that a user gives to be predicted: by themselves, in files, folders and tables, one after the other."""

import glob
import hashlib
import itertools
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.modalities import Modality, tables
from jtransfer.tasks import Task

FILE = "file"  # the column of the paths of files
LINES = ".txt"


class Inputs(NamedTuple):
    """Examples that are to be predicted.

    Attributes:
      names: What each is called: the path of its file, its text, or where it stands.
      read: A function from the number of an example to the example, without a label. It raises InputError for one that
        can't be read.
      columns: The columns that they have, name → the values of all; None where an example has none.
      digest: What tells them from others.
      notes: What was guessed, a line each.
      single: Whether each was given by itself, so that what is predicted of it is printed.
    """

    names: list[str]
    read: Callable[[int], dict[str, Any]]
    columns: dict[str, list[Any]]
    digest: str
    notes: tuple[str, ...] = ()
    single: bool = False

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.names)


class Reader(NamedTuple):
    """What tells how to read what is given.

    Attributes:
      modality, task: Of the run.
      spec: The section `config.data` of the run.
    """

    modality: Modality
    task: Task
    spec: Mapping[str, Any]


def given(reader: Reader, arguments: Sequence[Any]) -> Inputs:
    """Returns the examples that arguments stand for, in order.

    An argument is what the modality reads, such as the path of an image, a text or numbers; a table, a file with one of
    `tables.SUFFIXES`; a `.txt` file with one on each line; a file of arrays; a folder, of which all of these below it
    are taken in the order of their names; a pattern of such paths with `*`; or, from Python, a dict, which is a row of
    a table.

    Raises:
      InputError: There is no such file, or a table lacks a column.
    """
    if not arguments:
        raise InputError("there is nothing to predict")
    parts: list[Inputs] = []
    for is_row, several in itertools.groupby(arguments, lambda argument: isinstance(argument, Mapping)):
        if is_row:
            parts.append(_of_table(reader, tables.of_rows(list(map(dict, several)), "rows")))
            continue
        for argument in map(os.fspath, several):
            parts += _of_argument(reader, argument)
    return _joined(parts)


def of_source(source: Source, name: str) -> Inputs:
    """Returns the examples of a data set, whose labels are not looked at.

    Args:
      source: The data set.
      name: Its name, with the split.
    """
    numbers = range(len(source)) if source.numbers is None else source.numbers.tolist()

    def read(i: int) -> dict[str, Any]:
        return {key: value for key, value in source[i].items() if key != "label" or source.label_kind == "tags"}

    names = [f"{name}, example {i}" for i in numbers]
    return Inputs(names, read, {"index": list(numbers)}, _digest([name, str(len(source))]), source.notes)


def lines(reader: Reader, texts: Sequence[str]) -> Inputs:
    """Returns the examples of lines, each what the modality reads."""
    reader.modality.check_given(texts)
    return _singles(reader, texts)


def column_of(modality: Modality, texts: Sequence[str]) -> str:
    """Returns the name of the column of examples that are given by themselves."""
    return FILE if not modality.inline and all(map(os.path.isfile, texts)) else modality.nouns[0]


def _of_argument(reader: Reader, argument: str) -> list[Inputs]:
    path, suffix = Path(argument), os.path.splitext(argument)[1].lower()
    files = not reader.modality.inline
    known = suffix in tables.SUFFIXES or suffix == LINES or suffix in reader.modality.suffixes
    if _exists(path, is_file=True):
        if suffix in tables.SUFFIXES:
            return [_of_table(reader, tables.read(argument))]
        if suffix == LINES:
            return [_of_lines(reader, argument)]
        if (several := reader.modality.many(argument)) is not None:
            return [_of_several(argument, several)]
        said = () if files else (f"{argument} is the name of a file, too; it is taken as a {reader.modality.nouns[0]}",)
        return [_singles(reader, [argument])._replace(notes=said)]
    if _exists(path, is_file=False) and (files or argument.endswith("/")):
        found = sorted({*_below(path), *reader.modality.listed(argument)})
        if not found:
            raise InputError(f"{argument}: the folder holds no {reader.modality.nouns[0]} and no table")
        return [_joined([part for file in found for part in _of_argument(reader, file)])._replace(single=False)]
    if glob.has_magic(argument) and (files or known):
        found = sorted(glob.glob(argument, recursive=True))
        if found:
            return [_joined([part for file in found for part in _of_argument(reader, file)])._replace(single=False)]
        if known:
            raise InputError(f"{argument}: no file matches")
    if known and not files and len(argument.split()) == 1:
        raise InputError(f"{argument}: there is no such file; a text that is called so can be given on standard input")
    if suffix in tables.SUFFIXES and files:
        raise InputError(f"{argument}: there is no such file")
    reader.modality.check_given([argument])
    said = (f"{argument!r:.80} is taken as a {reader.modality.nouns[0]}; there is no such file",) if known else ()
    return [_singles(reader, [argument])._replace(notes=said)]


def _exists(path: Path, *, is_file: bool) -> bool:
    try:
        return path.is_file() if is_file else path.is_dir()
    except (OSError, ValueError):  # a text that is no name of a file
        return False


def _below(folder: Path) -> list[str]:
    """The tables and files of lines below a folder, without hidden ones."""
    wanted = {*tables.SUFFIXES, LINES}
    found = (path for path in folder.rglob("*") if path.suffix.lower() in wanted and path.is_file())
    return [str(path) for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _singles(reader: Reader, texts: Sequence[str]) -> Inputs:
    texts = list(texts)
    column = column_of(reader.modality, texts)
    stated = [_state(text) if column == FILE else text for text in texts]
    read = reader.modality.read
    return Inputs(texts, lambda i: read(texts[i], reader.task), {column: texts}, _digest(stated), single=True)


def _of_several(file: str, several: Sequence[dict[str, Any]]) -> Inputs:
    names = [f"{file}, row {i + 1}" for i in range(len(several))]
    columns = {FILE: [file] * len(several), "row": list(range(1, len(several) + 1))}
    return Inputs(names, lambda i: several[i], columns, _state(file))


def _of_lines(reader: Reader, file: str) -> Inputs:
    found = [line for line in tables.read_lines(file) if line.strip()]
    if not found:
        raise InputError(f"{file}: is empty; put one {reader.modality.nouns[0]} on each line")
    return lines(reader, found)._replace(single=False, notes=(f"{file}: {len(found):,} lines",))


def _of_table(reader: Reader, table: tables.Table) -> Inputs:
    rows = reader.modality.of_table(table, reader.task, reader.spec)
    notes = (*table.notes, f"{table.path}: {table.size:,} rows, {rows.note}")
    return Inputs(list(rows.names), rows.read, dict(table.columns), table.digest, notes)


def _joined(parts: Sequence[Inputs]) -> Inputs:
    if len(parts) == 1:
        return parts[0]
    ends = list(itertools.accumulate(part.size for part in parts))
    names = [name for part in parts for name in part.names]
    columns = {
        column: [value for part in parts for value in part.columns.get(column, [None] * part.size)]
        for column in dict.fromkeys(column for part in parts for column in part.columns)
    }

    def read(i: int) -> dict[str, Any]:
        at = bisect_right(ends, i)
        return parts[at].read(i - ends[at] + parts[at].size)

    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    single = all(part.single for part in parts)
    return Inputs(names, read, columns, _digest([part.digest for part in parts]), notes, single)


def _state(file: str) -> str:
    found = os.stat(file)
    return f"{file}\0{found.st_size}\0{found.st_mtime_ns}"


def _digest(texts: Iterable[str]) -> str:
    total = hashlib.sha256()
    for text in texts:
        total.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
    return total.hexdigest()
