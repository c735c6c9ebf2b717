"""What a client has sent of one example, and how it becomes what the run's modality reads."""

import math
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError

_WORDS = {"file": "the content of a file", "string": "a text", "numbers": "a list of numbers"}
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


class Sent(NamedTuple):
    """One example as a client has sent it.

    Attributes:
      content: The bytes of a file, a text, or numbers.
      name: What a file is called, for its ending and for errors.
    """

    content: bytes | str | Sequence[float]
    name: str = ""


def read(sent: Sent, takes: Sequence[str], reader: Callable[[str], Any]) -> tuple[str, Any]:
    """Returns what a modality would be given of an example, and what it reads of it.

    No text of a client is taken for the path of a file of this machine.

    Args:
      sent: The example.
      takes: `Modality.sent`.
      reader: A function from what is given (a path, a text, numbers with commas in between) to the example.

    Raises:
      InputError: It is of a kind that the modality does not take, or can't be read.
    """
    if isinstance(sent.content, bytes):
        _check("file", takes)
        return _of_file(sent.content, sent.name, reader)
    if isinstance(sent.content, str) and "string" in takes:
        return sent.content, reader(sent.content)
    if isinstance(sent.content, str) and "numbers" not in takes:
        _check("string", takes)
    given = ",".join(map(repr, _numbers(sent.content, takes)))
    return given, reader(given)


def _check(kind: str, takes: Sequence[str]) -> None:
    if kind not in takes:
        raise InputError(f"this model is not given {_WORDS[kind]}; send {wanted(takes)}")


def wanted(takes: Sequence[str]) -> str:
    """Returns in words what a client may send."""
    return " or ".join(_WORDS[kind] for kind in takes)


def _numbers(content: str | Sequence[float], takes: Sequence[str]) -> list[float]:
    _check("numbers", takes)
    try:
        numbers = [float(part) for part in (content.split(",") if isinstance(content, str) else content)]
    except (TypeError, ValueError):
        raise InputError(f"{content!r:.80} is no list of numbers") from None
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError("give finite numbers, at least one")
    return numbers


def _of_file(content: bytes, name: str, reader: Callable[[str], Any]) -> tuple[str, Any]:
    ending = os.path.splitext(name)[1]
    with tempfile.NamedTemporaryFile(suffix=ending if _SUFFIX.fullmatch(ending) else "") as file:
        file.write(content)
        file.flush()
        try:
            return name, reader(file.name)
        except InputError as error:
            raise InputError(str(error).replace(file.name, "the file")) from None
        except (OSError, ValueError, EOFError) as error:  # of a modality that does not say it itself
            raise InputError(f"the file can't be read: {str(error).replace(file.name, 'the file')}") from None
