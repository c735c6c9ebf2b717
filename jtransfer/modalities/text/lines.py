"""Text files by line: braces and checked to be UTF-8 in one pass, and read again at random."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import encodings

LONGEST = 50_000_000  # bytes of a line, and of a text of several lines
_HEAD = 2**16  # bytes by which the encoding is told


class Line(NamedTuple):
    """One line of a file.

    Attributes:
      number: The number of the line, from 1.
      start: The place of its first byte in the file.
      stop: The place after its last byte.
      text: Its text, with the end of line.
    """

    number: int
    start: int
    stop: int
    text: str


def scan(path: Path) -> Iterator[Line]:
    """Yields the lines of a file in order; a byte order mark is no part of the first.

    Raises:
      InputError: The file can't be read, a line is not UTF-8 or longer than `LONGEST`, or lines end in carriage returns
        alone.
    """
    try:
        with path.open("rb") as file:
            start = 0
            encodings.check_head(file.read(_HEAD), path)
            file.seek(0)
            for number, raw in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
                check_length(len(raw), f"{path}, line {number}")
                text = encodings.decoded(raw, number, path)
                yield Line(number, start, start + len(raw), text.removeprefix("\ufeff") if number == 1 else text)
                start += len(raw)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def check_length(size: int, where: str) -> None:
    """Raises InputError if a line or a text has more than `LONGEST` bytes."""
    if size > LONGEST:
        raise InputError(f"{where}: begins a line or a text of more than {LONGEST:,} bytes; divide it into several")


def read(path: Path, start: int, stop: int) -> str:
    """Returns the text of the bytes from `start` to `stop` of a file that `scan` has checked."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        raw = file.read(stop - start)
    if len(raw) < stop - start:
        raise InputError(f"{path}: is shorter than when it was opened; do not change a file that is in use")
    return encodings.decoded(raw, None, path).removeprefix("\ufeff" if start == 0 else "")


def splits(location: str, suffixes: Sequence[str], name: str) -> dict[str, list[Path]]:
    """Returns the files of each split that an address names.

    Args:
      location: `/path/file.csv`, which is the split "all"; `/path/{train,test}.csv`; or a folder. The split of a file
        is its stem; parts, such as `train-00000-of-00002`, make up one split.
      suffixes: The suffixes of the files of a folder.
      name: The kind of data set, for errors.

    Raises:
      InputError: There is no such file, or the folder has no files with these suffixes.
    """
    path = Path(location).expanduser()
    if path.is_file():
        return {"all": [path]}
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in suffixes and file.name[0] != ".")
        if not files:
            raise InputError(f"{name}:{location}: the folder holds no {' or '.join(suffixes)} file")
    elif "{" in location:
        files = [Path(text).expanduser() for text in _braces(location)]
        for file in files:
            if not file.is_file():
                raise InputError(f"{name}:{location}: there is no file {file}")
    else:
        close = sorted(glob.glob(f"{glob.escape(str(path.parent))}/*"))[:5]
        held = f"; {path.parent} holds {', '.join(Path(file).name for file in close)}" if close else ""
        raise InputError(f"{name}:{location}: there is no such file or folder{held}")
    files_of: dict[str, list[Path]] = {}
    for file in files:
        files_of.setdefault(_split(file), []).append(file)
    return files_of


def _split(file: Path) -> str:
    stem = re.sub(r"-\d+-of-\d+$", "", file.stem)
    return re.sub(r"[^\w-]", "_", stem)


def _braces(text: str) -> list[str]:
    braces = re.fullmatch(r"(.*?)\{([^{}]*)\}(.*)", text, re.DOTALL)
    if not braces:
        return [text]
    before, options, after = braces.groups()
    return [whole for option in options.split(",") for whole in _braces(before + option.strip() + after)]
