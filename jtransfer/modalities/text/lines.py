"""Text files by line: found and checked in one pass, and read again at random."""

import functools
import glob
import os
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.data import split_names
from jtransfer.modalities.text import encodings

LONGEST = 50_000_000  # bytes of a line, and of a text of several lines
HELD, _FILES = 2**26, 64  # bytes that are held in memory, and files that are held or open
_HEAD = 2**16  # bytes by which the encoding is told
Read = Callable[[int, int], str]
_held: weakref.WeakKeyDictionary[Read, bytes] = weakref.WeakKeyDictionary()  # while somebody may read them


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

    The file is UTF-8, or what its byte order mark states: UTF-16, as Excel saves "Unicode text", or UTF-32.

    Raises:
      InputError: The file can't be read, a line is not of the encoding or longer than `LONGEST`, or lines end in
        carriage returns alone.
    """
    try:
        with path.open("rb") as file:
            start = 0
            encoding = encodings.of_head(file.read(_HEAD), path)
            file.seek(0)
            narrow = iter(lambda: file.readline(LONGEST + 1), b"")
            for number, raw in enumerate(narrow if encoding == encodings.UTF_8 else _wide(file, encoding), 1):
                check_length(len(raw), f"{path}, line {number}")
                text = encodings.decoded(raw, number, path, encoding)
                yield Line(number, start, start + len(raw), text.removeprefix("\ufeff") if number == 1 else text)
                start += len(raw)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _wide(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """The lines of a file in an encoding of two or four bytes, one of which may have the number of an end of line."""
    end, held, seen = "\n".encode(encoding), b"", 0  # no end of line is in the first `seen` bytes that are held
    while chunk := file.read(_HEAD):
        held += chunk
        while (at := held.find(end, seen)) >= 0:
            seen = at + 1
            if at % len(end) == 0:
                yield held[: at + len(end)]
                held, seen = held[at + len(end) :], 0
        seen = max(0, len(held) - len(end) + 1)
        if len(held) > LONGEST:
            break
    if held:
        yield held


def is_utf_8(path: Path) -> bool:
    """Returns whether a file has no byte order mark of another encoding."""
    with path.open("rb") as file:
        return encodings.marked(file.read(encodings.LONGEST_MARK)) == encodings.UTF_8


def check_length(size: int, where: str) -> None:
    """Raises InputError if a line or a text has more than `LONGEST` bytes."""
    if size > LONGEST:
        raise InputError(f"{where}: begins a line or a text of more than {LONGEST:,} bytes; divide it into several")


def reader(path: Path) -> Read:
    """Returns a function from two places in a file that `scan` has checked to the text of the bytes between them.

    A small file is held in memory, where it stays what it was. At most `_FILES` files of `HELD` bytes in all are held;
    others are read anew for each text.
    """
    if len(_held) == _FILES or os.path.getsize(path) + sum(map(len, _held.values())) > HELD:
        return functools.partial(_read, path)
    content = path.read_bytes()
    encoding = encodings.marked(content[: encodings.LONGEST_MARK])

    def read(start: int, stop: int) -> str:
        return _text(content[start:stop], start, stop, path, encoding)

    _held[read] = content
    return read


def _read(path: Path, start: int, stop: int) -> str:
    now = os.stat(path)
    file, encoding = _opened(path, (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns))
    return _text(os.pread(file.fileno(), stop - start, start), start, stop, path, encoding)


def _text(raw: bytes, start: int, stop: int, path: Path, encoding: str) -> str:
    if len(raw) < stop - start:
        raise InputError(f"{path}: is shorter than when it was opened; do not change a file that is in use")
    return encodings.decoded(raw, None, path, encoding).removeprefix("\ufeff" if start == 0 else "")


@functools.lru_cache(_FILES)
def _opened(path: Path, state: tuple[int, ...]) -> tuple[BinaryIO, str]:
    """A file in a state, and its encoding; the file is closed when nobody reads it any more."""
    descriptor = os.open(path, os.O_RDONLY)
    file = open(descriptor, "rb", buffering=0, closefd=False)  # noqa: SIM115
    weakref.finalize(file, os.close, descriptor)
    return file, encodings.marked(file.read(encodings.LONGEST_MARK))


def splits(location: str, suffixes: Sequence[str], name: str) -> dict[str, list[Path]]:
    """Returns the files of each split that an address names.

    Args:
      location: `/path/file.csv`, which is the split "all"; `/path/{train,test}.csv`; `/path/**/*.csv`; or a folder. The
        split of a file is its stem; parts, such as `train-00000-of-00002`, make up one split. A folder without files
        may have a folder for each split, such as `train` and `test`, whose files make up the split. Files that a
        pattern finds are the split "all", unless each of them is called as a split is.
      suffixes: The suffixes of the files of a folder.
      name: The kind of data set, for errors.

    Raises:
      InputError: There is no such file, or the folder has no files with these suffixes.
    """
    path = Path(location).expanduser()
    if path.is_file():
        return {"all": [path]}
    if path.is_dir():
        files = _files(path, suffixes)
        if not files:
            return _folders(path, suffixes, f"{name}:{location}")
    elif "{" in location:
        files = [Path(text).expanduser() for text in _braces(location)]
        for file in files:
            if not file.is_file():
                raise InputError(f"{name}:{location}: there is no file {file}")
    elif files := _matching(location):
        if not all(split_names.meaning(_split(file)) for file in files):
            return {"all": files}
    else:
        close = sorted(glob.glob(f"{glob.escape(str(path.parent))}/*"))[:5]
        held = f"; {path.parent} holds {', '.join(Path(file).name for file in close)}" if close else ""
        raise InputError(f"{name}:{location}: there is no such file or folder{held}")
    files_of: dict[str, list[Path]] = {}
    for file in files:
        files_of.setdefault(_split(file), []).append(file)
    return files_of


def _matching(pattern: str) -> list[Path]:
    """The files, but for hidden ones, that a pattern with `*`, `?`, `[…]` or `**` finds, sorted."""
    found = glob.glob(str(Path(pattern).expanduser()), recursive=True) if glob.has_magic(pattern) else ()
    return sorted(path for path in map(Path, found) if path.is_file())


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in suffixes and file.name[0] != ".")


def _folders(root: Path, suffixes: Sequence[str], where: str) -> dict[str, list[Path]]:
    """The files of the folders in a folder, each of which is a split by its name."""
    folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name[0] not in "._@"]
    files = {_plain(folder.name): found for folder in folders if (found := _files(folder, suffixes))}
    none = f"{where}: the folder holds no {' or '.join(suffixes)} file"
    if others := [name for name in files if not split_names.meaning(name)]:
        raise InputError(
            f"{none}; its folders do, but {others[0]!r} is no split; call them train, validation and test, or name one"
        )
    if not files:
        raise InputError(none)
    return files


def _split(file: Path) -> str:
    return _plain(re.sub(r"-\d+-of-\d+$", "", file.stem))


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name)


def _braces(text: str) -> list[str]:
    braces = re.fullmatch(r"(.*?)\{([^{}]*)\}(.*)", text, re.DOTALL)
    if not braces:
        return [text]
    before, options, after = braces.groups()
    return [whole for option in options.split(",") for whole in _braces(before + option.strip() + after)]
