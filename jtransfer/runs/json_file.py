"""The JSON files of a run's folder. They may be a stranger's, or damaged: each is read within bounds."""

import json
import os
from typing import Any

from etils import epath

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.weights.formats import json_header
from jtransfer.weights.formats.lazy import Malformed

_MOST = 1 << 26  # bytes
_BOM = b"\xef\xbb\xbf"


class Damaged(InputError):
    """The error of a file that is there, and holds something else than it should."""


def parse(text: bytes, kind: type = dict) -> Any:
    """Returns what a text in JSON holds.

    Args:
      text: in UTF-8, with or without a byte order mark.
      kind: `dict` or `list`, which the outermost value must be.

    Raises:
      ValueError: the text is empty, or is refused by `json_header.parse`; the message says why, as "is not JSON: …".
    """
    if not text.strip(b" \t\r\n\0"):
        raise ValueError("is not JSON: it " + ("holds zeros alone" if text.strip() else "is empty"))
    try:
        return json_header.parse(text.removeprefix(_BOM), kind)
    except Malformed as error:
        said = str(error)
        no_json = said.removeprefix("JSON is damaged: ")
        raise ValueError(f"is damaged: {said}" if no_json == said else f"is not JSON: {no_json}") from None


def read(path: str | os.PathLike, kind: type = dict) -> Any:
    """Returns the content of a JSON file. Arguments as for `parse`.

    Raises:
      InputError: there is no such file.
      Damaged: it holds something else.
    """
    place = epath.Path(path)
    if why := whole_file.problem(path):
        missing = f"{place.parent} is not the folder of a run: {place.name} is missing"
        raise InputError(missing) if why == "is missing" else Damaged(f"{path} {why}")
    try:
        return parse(whole_file.read(path, _MOST), kind)
    except InputError as error:
        raise Damaged(str(error)) from None
    except ValueError as error:
        raise Damaged(f"{path} {error}") from None


def write(path: str | os.PathLike, value: Any) -> None:
    """Replaces a JSON file as a whole."""
    whole_file.write(path, (json.dumps(value, indent=2, default=str) + "\n").encode())
