"""Tells the encoding of text files, and of those that can't be read, how they are converted."""

import re
from pathlib import Path

from jtransfer.core.errors import InputError

UTF_8 = "utf-8"
_MARKS = {  # at the beginning of a file, the longest first
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
LONGEST_MARK = max(map(len, _MARKS))  # in bytes
_PACKED = {
    b"PK\x03\x04": "is a spreadsheet or another zip archive; save the table as CSV in UTF-8, or unzip it",
    b"\xd0\xcf\x11\xe0": "is a spreadsheet; save the table as CSV in UTF-8",
    b"\x1f\x8b": "is compressed; unpack it with gunzip",
    b"PAR1": "is a Parquet file; name it with parquet:",
}
_UNUSED = frozenset(b"\x81\x8d\x8f\x90\x9d")  # in Windows' code page 1252
_RETURN = re.compile(rb"\r(?=[^\n])")  # alone, as on old Macs
_FEWEST = 0.02  # of the bytes of UTF-16, those that are 0


def marked(head: bytes) -> str:
    """Returns the encoding that the first bytes of a file state by a byte order mark; without one of UTF-16 or UTF-32
    it is UTF-8."""
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), UTF_8)


def of_head(head: bytes, path: Path) -> str:
    """Returns the encoding of a file, a name of Python's codecs.

    Args:
      head: The first bytes of the file, up to some thousands.
      path: Its path, for errors.

    Raises:
      InputError: It must be converted or unpacked first; the message says how.
    """
    for start, what in _PACKED.items():
        if head.startswith(start):
            raise InputError(f"{path}: {what}")
    encoding = marked(head)
    if encoding == UTF_8 and (wide := _without_mark(head)):
        raise InputError(f"{path}: is {wide}, not UTF-8; convert it: {_iconv(wide, path)}")
    if encoding == UTF_8 and head.startswith("ÿþ".encode()) and b"\0" in head:
        raise InputError(
            f"{path}: was UTF-16, and has been converted as if it were latin1; convert the original file: "
            "iconv -f UTF-16 -t UTF-8 original_file > new_file"
        )
    narrow = head if encoding == UTF_8 else head.decode(encoding, "ignore").encode(UTF_8, "ignore")
    if len(_RETURN.findall(narrow)) > narrow.count(b"\n"):
        raise InputError(
            f"{path}: ends its lines in carriage returns alone; convert it: tr '\\r' '\\n' < {str(path)!r} > new_file"
        )
    return encoding


def decoded(raw: bytes, number: int | None, path: Path, encoding: str = UTF_8) -> str:
    """Returns the text of a line.

    Args:
      raw: Its bytes.
      encoding: Its encoding.
      number: The number of the line, if it is known.
      path: The path of the file, for errors.

    Raises:
      InputError: It is not of that encoding.
    """
    where = f"{path}, line {number}" if number else str(path)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != UTF_8:
            raise InputError(
                f"{where}: is no {encoding[:6].upper()}, as the first bytes of the file state; save it as UTF-8"
            ) from None
        known = not _UNUSED & frozenset(raw)
        how = (
            f"convert it; if it is from Windows in Western Europe or America: {_iconv('WINDOWS-1252', path)}"
            if known
            else f"find out its encoding, and convert it: {_iconv('ENCODING', path)}"
        )
        raise InputError(f"{where}: byte {error.start} of the line is not UTF-8; {how}") from None


def _without_mark(head: bytes) -> str:
    """UTF-16 of texts that are ASCII for the most part: every other byte is 0, or many of them are."""
    zeros = {side: head[side::2].count(0) for side in (0, 1)}
    if sum(zeros.values()) < max(2, _FEWEST * len(head)) or min(zeros.values()):
        return ""
    return "UTF-16LE" if zeros[1] else "UTF-16BE"


def _iconv(encoding: str, path: Path) -> str:
    return f"iconv -f {encoding} -t UTF-8 {str(path)!r} > new_file"
