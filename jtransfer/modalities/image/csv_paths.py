"""Reads images that a CSV file names, a path in each row, with their labels in other columns."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.data import labels
from jtransfer.data.missing_labels import is_missing
from jtransfer.data.source import Declined, Source, unlabelled
from jtransfer.modalities.image import checked_files, pixels
from jtransfer.modalities.image.listing import SUFFIXES
from jtransfer.modalities.text import lines
from jtransfer.modalities.text.csv_files import open_csv
from jtransfer.modalities.text.table import Rows, Table, column_of, label_columns

_USUAL = (
    *("image", "images", "image_path", "img_path", "img", "path", "paths", "filepath", "file_path", "filename"),
    *("file_name", "file", "files", "image_name", "image_id", "imageid", "id_code", "id", "fname"),
)  # without regard to case
_SHOWN = 3


class Files(NamedTuple):
    """The images of a split.

    Attributes:
      paths: The path of the image of each row; None where there is none.
      where: A function from the number of a row to where it stands, for errors.
      rows: The rows of the files of the split, one for each file.
      column: A function from the name of a column to its values in all rows.
    """

    paths: list[str | None]
    where: Callable[[int], str]
    rows: list[Rows]
    column: Callable[[str], list]


def csv_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of CSV files that name images.

    Args:
      location: A file, a folder, or `/path/{train,test}.csv`; see `lines.splits`.
      spec: `image_key` names the column of the paths, which may be left out if its name is a usual one. A path may lack
        its suffix. It is relative to `image_dir`, in which `{split}` stands for the name of the split, or, without
        that, to the folder of the CSV file. `label_key`, `labels` and `missing` are as for texts; images that do not
        exist are missing, too.

    Raises:
      InputError: A file can't be read or lacks a column, images do not exist, or a value is no label; the message names
        the file and the line.
      Declined: No column has paths of images.
    """
    where = f"csv:{location}"
    files = lines.splits(location, (".csv", ".tsv"), "csv")
    tables = {split: [open_csv(path) for path in paths] for split, paths in files.items()}
    first = next(iter(tables.values()))[0]
    column = column_of_paths(first.columns, spec, where)
    keys = label_columns(first.columns, spec, where)
    for table in (table for every in tables.values() for table in every):
        for name in (column, *keys):
            if name not in table.columns:
                raise InputError(f"{table.path}: has no column {name!r}, only {', '.join(table.columns)}")
    scanned = {split: [table.scan((), (column, *keys)) for table in every] for split, every in tables.items()}
    found = {split: _find(tables[split], rows, files[split], column, split, spec) for split, rows in scanned.items()}
    notes = _check(found, column, spec, where)
    notes += [note for every in tables.values() for table in every for note in table.notes]
    return _sources(found, keys, tuple(notes), spec, where)


def column_of_paths(columns: Sequence[str], spec: Mapping, where: str) -> str:
    """Returns the name of the column that has the paths of images.

    Args:
      columns: The names of all columns.
      spec: `image_key` names it, if it has no usual name.
      where: The table, for errors.

    Raises:
      InputError: There is none.
    """
    key = spec.get("image_key") or "image"
    usual = [name for name in _USUAL for column in columns if column.lower() == name]
    by_name = {column.lower(): column for column in columns}
    if key in columns:
        return key
    if key == "image" and usual:
        return by_name[usual[0]]
    error = Declined if key == "image" else InputError
    raise error(f"{where}: which column has the paths of images; set data.image_key to one of: {', '.join(columns)}")


def _find(
    tables: Sequence[Table], rows: list[Rows], files: Sequence[Path], column: str, split: str, spec: Mapping
) -> Files:
    """Looks for the image of each row."""
    paths: list[str | None] = []
    places = []
    for part, file in zip(rows, files, strict=True):
        base = _base(file, split, spec)
        paths += [None if is_missing(cell) else image(base, cell) for cell in part.kept[column]]
        places += [(part.where, i) for i in range(part.size)]
    return Files(paths, lambda i: places[i][0](places[i][1]), rows, column_of(tables))


def _base(file: Path, split: str, spec: Mapping) -> Path:
    given = (spec.get("image_dir") or "").replace("{split}", split)
    if not given:
        return file.parent
    base = Path(given).expanduser()
    base = base if base.is_dir() else file.parent / base
    if not base.is_dir():
        raise InputError(f"data.image_dir={given!r}: there is no such folder")
    return base


def folders(file: Path, spec: Mapping) -> list[Path]:
    """Returns the folders in which the images of a table are looked for: `image_dir` if it exists, and the table's."""
    given = Path(spec.get("image_dir") or ".").expanduser()
    there = [base for base in (given, file.parent / given) if spec.get("image_dir") and base.is_dir()]
    return list(dict.fromkeys([*there, file.parent]))


def image(base: Path, cell: str) -> str | None:
    """Returns the path of an image, whose suffix may be left out; None if there is none, or several."""
    path = base / cell.strip().replace("\\", "/")
    held = _listing(path.parent)
    if path.name in held.get(path.name, ()):
        return str(path)
    images = held.get(path.name, ())
    return str(path.parent / images[0]) if len(images) == 1 else None


@functools.lru_cache(64)
def _names(folder: Path, changed: int) -> dict[str, tuple[str, ...]]:
    """Name of a file, and name without the suffix of an image → the names of the files that it may mean."""
    found: dict[str, tuple[str, ...]] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            found[stem] = (*found.get(stem, ()), name)
    return found | {name: (name,) for name in names}


def _listing(folder: Path) -> dict[str, tuple[str, ...]]:
    try:
        return _names(folder, folder.stat().st_mtime_ns)
    except OSError:
        return {}


def _check(found: Mapping[str, Files], column: str, spec: Mapping, where: str) -> list[str]:
    """Refuses images that do not exist, unless they are to be left out; returns what is told of them."""
    total = sum(len(files.paths) for files in found.values())
    gone = [(files, i) for files in found.values() for i, path in enumerate(files.paths) if path is None]
    if not total:
        raise InputError(f"{where}: holds no example, only the names of the columns")
    if not gone:
        return [f"images: {total:,}, named by the column {column!r}"] if spec.get("image_key") != column else []
    cells = [cell for files in found.values() for rows in files.rows for cell in rows.kept[column]]
    images = any(cell.lower().endswith(tuple(SUFFIXES)) for cell in cells)
    if len(gone) == total and not spec.get("modality") and not images:
        raise Declined(f"{where}: the column {column!r} names no image that exists")
    count = f"{len(gone):,} of {total:,} images of the column {column!r} do not exist, or have several suffixes"
    if spec.get("missing") == "drop" and len(gone) < total:
        return [f"{count}; their rows are left out, as data.missing='drop' says"]
    listed = ", ".join(_named(files, i, column) for files, i in gone[:_SHOWN]) + (", …" if len(gone) > _SHOWN else "")
    raise InputError(
        f"{where}: {count}: {listed}; set data.image_dir to their folder, or data.missing='drop' to leave them out"
    )


def _named(files: Files, i: int, column: str) -> str:
    cells = [cell for rows in files.rows for cell in rows.kept[column]]
    return f"{cells[i]!r:.80} ({files.where(i)})"


def _sources(
    found: Mapping[str, Files], keys: Sequence[str], notes: tuple[str, ...], spec: Mapping, where: str
) -> dict:
    decoded = pixels.reader(spec)
    named = dict.fromkeys(path for files in found.values() for path in files.paths if path)
    checked = checked_files.check(list(named), spec, where)
    notes = (*notes, *checked.notes)
    there = {
        split: [i for i, path in enumerate(files.paths) if path and path not in checked.problems]
        for split, files in found.items()
    }

    def reader(split: str) -> Callable[[int], dict]:
        paths = [str(found[split].paths[i]) for i in there[split]]
        return lambda i: {"image": decoded(paths[i])}

    def column(split: str) -> Callable[[str], list]:
        return lambda name: [values[i] for values in [found[split].column(name)] for i in there[split]]

    def fingerprint(split: str) -> Callable[[int], bytes]:
        return lambda i: checked.digests[str(found[split].paths[there[split][i]])]

    if not keys:
        return {
            split: dataclasses.replace(
                unlabelled(len(rows), reader(split), notes), column=column(split), fingerprint=fingerprint(split)
            )
            for split, rows in there.items()
        }
    pieces = {key: {split: _pieces(files, key, there[split]) for split, files in found.items()} for key in keys}
    asked = labels.asked(spec)
    encoded = labels.several(pieces, asked) if len(keys) > 1 else labels.encode(pieces[keys[0]], keys[0], asked=asked)
    encoded = encoded._replace(notes=(*notes, *encoded.notes))
    return {
        split: labels.labelled(
            reader(split), encoded, split, _places(found[split], there[split]), column(split), fingerprint(split)
        )
        for split in found
    }


def _places(files: Files, there: Sequence[int]) -> Callable[[int], str]:
    return lambda i: files.where(there[i])


def _pieces(files: Files, key: str, there: Sequence[int]) -> list:
    """The labels of the rows whose images exist, and where they stand."""
    every = [value for rows in files.rows for value in rows.kept[key]]
    return [([every[i] for i in there], _places(files, there))]
