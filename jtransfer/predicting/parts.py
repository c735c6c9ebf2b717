"""A file that is written in parts, so that a command that was killed goes on where it was."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.predicting.formats import Format


class Parts(NamedTuple):
    """The parts of a file, in a folder beside it.

    Attributes:
      file: The path of the file.
      format: Its format.
      about: What the file is made of, as JSON has it.
      rows: The number of its rows.
      step: The number of rows of a part.
    """

    file: Path
    format: Format
    about: Mapping[str, Any]
    rows: int
    step: int

    @property
    def folder(self) -> Path:
        """The folder of the parts, which is removed in the end."""
        return self.file.with_name(f"{self.file.name}.parts")

    @property
    def statement(self) -> Path:
        """The file that says what the file is made of, and stays beside it."""
        return self.file.with_name(f"{self.file.name}.json")

    @property
    def count(self) -> int:
        """The number of parts."""
        return -(-self.rows // self.step)

    def part(self, number: int) -> Path:
        """The path of a part."""
        return self.folder / f"{number:08d}"


def done(parts: Parts) -> int | None:
    """Returns how many parts there are already; None where the whole file is there. Nothing is written.

    Raises:
      InputError: There is a file, or there are parts, of another command.
    """
    if not parts.file.parent.is_dir():
        raise InputError(f"--save={parts.file}: there is no folder {parts.file.parent}")
    stated = _read(parts.folder / "made.json")
    if parts.folder.exists() and any(parts.folder.iterdir()):
        if stated != dict(parts.about):
            differs = _difference(stated, parts.about)
            raise InputError(
                f"{parts.folder} has parts of another command ({differs}); give that one again, or remove the folder"
            )
    elif parts.file.exists() or parts.file.is_symlink():
        if _read(parts.statement) != dict(parts.about):
            differs = _difference(_read(parts.statement), parts.about)
            raise InputError(f"{parts.file} is there, and not of this command ({differs}); move it away")
        return None
    return next((number for number in range(parts.count) if not parts.part(number).is_file()), parts.count)


def write(parts: Parts, number: int, content: bytes) -> None:
    """Writes a part; with the first one, what the file is made of.

    Raises:
      InputError: It cannot be written.
    """
    made = parts.folder / "made.json"
    if not made.exists():
        try:
            parts.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{parts.folder} cannot be written: {error.strerror}") from None
        whole_file.write(made, _text(parts.about))
    whole_file.write(parts.part(number), content)


def end(parts: Parts) -> None:
    """Joins the parts to the file, and removes them."""
    readers: list[Callable[[], bytes]] = [parts.part(number).read_bytes for number in range(parts.count)]
    whole_file.write(parts.file, lambda file: parts.format.join(readers, file))
    whole_file.write(parts.statement, _text(parts.about))
    shutil.rmtree(parts.folder, ignore_errors=True)


def _text(about: Mapping[str, Any]) -> bytes:
    return (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def _difference(stated: Mapping[str, Any] | None, about: Mapping[str, Any]) -> str:
    if stated is None:
        return "nothing says what it is made of"
    names = [name for name in {**stated, **about} if stated.get(name) != about.get(name)]
    return "another " + ", ".join(names)
