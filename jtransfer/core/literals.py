"""Values as a command line has them: parts of a text between commas, and tuples of plain words.

Brackets and quotes hold together what stands between them. A quote is one where a value may begin, so that `it's` has
none.
"""

import ast
import re
from typing import Any

from jtransfer.core.errors import InputError, one_line

_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\""
_BEFORE = "=,;:|([{ \t"  # what a quote may follow


def cut(text: str, at: str) -> list[str]:
    """Returns the parts of a text between separators that stand outside of brackets and quotes.

    Args:
      text: The text.
      at: A character; or a regular expression, which begins where the separator does.

    Raises:
      InputError: A bracket or a quote has no other half.
    """
    parts, depth, quote, begin, place = [], 0, "", 0, 0
    separator = re.compile(re.escape(at) if len(at) == 1 else at)
    while place < len(text):
        letter = text[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES and (not place or text[place - 1] in _BEFORE):
            quote = letter
        elif depth <= 0 and (found := separator.match(text, place)):
            parts.append(text[begin:place])
            begin = place = found.end()
            continue
        else:
            depth += (letter in _OPEN) - (letter in _CLOSE)
        place += 1
    if depth or quote:
        raise InputError(f"{one_line(text.strip())!r} has a bracket or a quote without its other half")
    return [*parts, text[begin:]]


def unquoted(text: str) -> str:
    """Returns a text without the quotes that it is in as a whole; any other text as it is."""
    inner = text[1:-1]
    whole = len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0] and text[0] not in inner
    return inner if whole else text


def read(text: str) -> Any:
    """Returns the value of a Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def read_sequence(text: str) -> Any:
    """Returns the tuple or list that a text writes, of which texts need no quotes: `(a,b)` and `a,b` are `("a", "b")`.

    Inside, brackets with a comma, and braces with a colon, hold a tuple, a list or a dict:
    `[(all-linear,lora,{rank:8})]` is `[("all-linear", "lora", {"rank": 8})]`. What has neither brackets nor a comma is
    returned as it is.

    Raises:
      InputError: A bracket or a quote has no other half.
    """
    found, inside = read(text), _inside(text.strip())
    if isinstance(found, tuple | list):
        return found
    if inside and inside[1] is not dict:
        return inside[1](map(_value, _items(inside[0])))
    parts = _items(text)
    return tuple(map(_value, parts)) if len(parts) > 1 or parts != [text] else text


def _value(text: str) -> Any:
    """A value inside a sequence."""
    text = text.strip()
    found = read(text)
    if not isinstance(found, str) or found != text or not (inside := _inside(text)):
        return found
    inner, kind = inside
    if kind is not dict:
        return kind(map(_value, _items(inner))) if kind is list or len(cut(inner, ",")) > 1 else text
    pairs = [cut(part, ":") for part in _items(inner)]
    return {_value(key): _value(":".join(rest)) for key, *rest in pairs} if all(len(p) > 1 for p in pairs) else text


def _items(text: str) -> list[str]:
    """The parts between commas; a last comma ends the last part, as in Python."""
    parts = cut(text, ",")
    return parts if parts[-1].strip() else parts[:-1]


def _inside(text: str) -> tuple[str, type] | None:
    """What stands in the brackets that enclose a text as a whole, and what they make; None without such brackets."""
    kinds = {"()": tuple, "[]": list, "{}": dict}
    kind = kinds.get(text[:1] + text[-1:]) if len(text) > 1 else None
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if depth == 0 and place < len(text) - 1:
            return None
    return (text[1:-1], kind) if kind else None
