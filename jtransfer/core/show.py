"""What is shown of names and texts from elsewhere: nothing in them moves the cursor, begins a line or turns letters."""

import re
import sys
from collections.abc import Callable
from typing import Any, TextIO

LONGEST = 200  # characters of a name
HEARERS: list[Callable[[str], None]] = []  # functions that are given all that is said
_TURNING = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"  # marks of direction and of order
_SUSPECT = re.compile(rf"[\0-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_TURNING}]")


def escaped(text: str) -> str:
    """Returns a text of one line or several whose unprintable characters are escapes, as `\\x1b`.

    Control characters but for tabs, halves of a character, and marks that turn the direction of writing are
    unprintable; letters of any script are not.
    """
    return "\n".join(map(_escaped_line, text.split("\n")))


def one_line(text: str, longest: int = LONGEST) -> str:
    """Returns a text, `escaped`, as one line: ends of lines are escapes too.

    Args:
      text: The text.
      longest: The number of characters of a line above which its middle is left out, where "…" stands.
    """
    line = _escaped_line(_shortened(text, longest))
    return _shortened(line, longest)


def shown(name: str) -> str:
    """Returns a name as `one_line`, in quotes if that is not the name itself."""
    line = one_line(name)
    return line if line == name else f"'{line}'"


def say(text: Any, file: TextIO | None = None) -> None:
    """Prints a text, `escaped`, on standard output or into a file, at once. All that is printed goes through here."""
    lines = escaped(str(text))
    print(lines, file=file or sys.stdout, flush=True)
    for hear in HEARERS:
        hear(lines)


def _escaped_line(text: str) -> str:
    return _SUSPECT.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _shortened(text: str, longest: int) -> str:
    head = longest * 2 // 3
    return text if len(text) <= longest else f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"
