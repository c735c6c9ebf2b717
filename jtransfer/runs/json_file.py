"""The JSON files of a run's folder. They may be a stranger's, or damaged: each is read within bounds."""

import json
import os
from typing import Any

from etils import epath

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError

_MOST = 1 << 26  # bytes
_KINDS = {dict: "an object", list: "a list"}


class Damaged(InputError):
    """The error of a file that is there, and holds something else than it should."""


def parse(text: bytes, kind: type = dict) -> Any:
    """Returns what a text in JSON holds.

    Args:
      text: in UTF-8, UTF-16 or UTF-32.
      kind: `dict` or `list`, which the outermost value must be.

    Raises:
      ValueError: the text is no JSON, is too deep, has a key twice in an object, or holds something else; the message
        says so, as "is not JSON: …".
    """
    if not text.strip(b" \t\r\n\0"):
        raise ValueError("is not JSON: it " + ("holds zeros alone" if text.strip() else "is empty"))
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("is damaged: it is nested too deep") from None
    except ValueError as error:
        why = str(error)[:200]
        raise ValueError(why if why.startswith("is damaged") else f"is not JSON: {why}") from None
    if not isinstance(value, kind):
        raise ValueError(f"is damaged: it does not hold {_KINDS[kind]}")
    return value


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"is damaged: the key {key[:80]!r} stands there twice")
        result[key] = value
    return result
