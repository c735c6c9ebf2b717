"""Images as they are given to `predict`: files, the files of a folder, and tables with a column of paths."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from jtransfer.core.errors import InputError
from jtransfer.modalities.given import Given, Rows, Transform
from jtransfer.modalities.image import csv_paths, listing
from jtransfer.modalities.image.pixels import decode
from jtransfer.modalities.image.views import of_words, two_views
from jtransfer.modalities.tables import Table
from jtransfer.tasks.base import Task


class GivenImages(Given):
    """The part of the modality of images that is about what a user gives to `predict`."""

    suffixes: ClassVar[frozenset[str]] = listing.SUFFIXES

    channels: int
    range: Sequence[float]
    max_pixels: int

    def check_given(self, given: Sequence[str]) -> None:
        for path in given:
            if not os.path.isfile(path):
                raise InputError(f"{path}: there is no such image")

    def read(self, given: str, task: Task) -> dict[str, Any]:
        return {"image": decode(given, self.channels, self.range, self.max_pixels)}

    def listed(self, folder: str) -> list[str]:
        return list(listing.scan(Path(folder)).images.values())

    def of_table(self, table: Table, task: Task, spec: Mapping[str, Any]) -> Rows:
        column = csv_paths.column_of_paths(tuple(table.columns), spec, str(table.path))
        cells = table.columns[column]
        held = [_bytes(cell) for cell in cells]
        folders = csv_paths.folders(table.path, spec)
        names = [_path(cell, folders) if content is None else "" for cell, content in zip(cells, held, strict=True)]

        def read(i: int) -> dict[str, Any]:
            if (content := held[i]) is not None:
                return {"image": self._decoded(content, table.where(i))}
            if not names[i]:
                where = " or ".join(map(str, folders))
                raise InputError(
                    f"{table.where(i)}: there is no image {cells[i]!r:.80} in {where}; give data.image_dir its folder"
                )
            return self.read(names[i], task)

        shown = [name or _shown(cell, table.where(i)) for i, (name, cell) in enumerate(zip(names, cells, strict=True))]
        return Rows(shown, read, f"images of the column {column!r}")

    def _decoded(self, content: bytes, where: str) -> Any:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            try:
                return decode(file.name, self.channels, self.range, self.max_pixels)
            except InputError as error:
                raise InputError(str(error).replace(file.name, where)) from None

    def make_views(self, how: str, task: Task, model: Any) -> list[Transform]:
        views = of_words(how, self.pipeline(model, train=False), lambda: self.pipeline(model, train=True))
        if task.form == "pair":
            return [two_views(view, self.pipeline(model, train=True)) for view in views]
        return list(views)

    def pipeline(self, model: Any, *, train: bool) -> Any:
        """See `Image.pipeline`."""
        raise NotImplementedError


def _bytes(cell: Any) -> bytes | None:
    """The content of an image that is in a cell, as Hugging Face's `datasets` writes it too."""
    cell = cell.get("bytes") if isinstance(cell, Mapping) else cell
    return cell if isinstance(cell, bytes) else None


def _path(cell: Any, folders: Sequence[Path]) -> str:
    cell = cell.get("path") if isinstance(cell, Mapping) else cell
    if not isinstance(cell, str | int) or not str(cell).strip():
        return ""
    return next((path for folder in folders if (path := csv_paths.image(folder, str(cell)))), "")


def _shown(cell: Any, where: str) -> str:
    return cell if isinstance(cell, str) else where
