"""Regular expressions of strangers, matched in polynomial time: Python's own may take for ever on a text of a line.

What a pattern reaches is a set of places in the text, so that no place is looked at twice.
"""

import re
import warnings
from collections.abc import Callable
from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

from jtransfer.core.errors import InputError

LONGEST = 10_000  # characters of a pattern
_DEEPEST = 50
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    codes.CATEGORY_DIGIT: str.isdecimal,
    codes.CATEGORY_SPACE: str.isspace,
    codes.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
}
_NEGATED = {
    codes.CATEGORY_NOT_DIGIT: codes.CATEGORY_DIGIT,
    codes.CATEGORY_NOT_SPACE: codes.CATEGORY_SPACE,
    codes.CATEGORY_NOT_WORD: codes.CATEGORY_WORD,
}

Places = frozenset[int]
Matcher = Callable[[str, Places], Places]


def compile(pattern: str, where: str) -> Callable[[str], bool]:
    """Returns the function that says whether a pattern matches the whole of a text, as `re.fullmatch` does.

    Args:
      pattern: a regular expression without look-around and back references.
      where: what it is in an error, such as "adapter_config.json: target_modules".

    Raises:
      InputError: it is no such expression.
    """
    shown = repr(pattern[:80])
    if len(pattern) > LONGEST:
        raise InputError(f"{where}: {shown}… has more than {LONGEST:,} characters; give a list of names")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = _sequence(parser.parse(pattern), 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{where}: {shown} is not a regular expression: {error or type(error).__name__}") from None
    except _Unread as error:
        raise InputError(f"{where}: {shown} has {error}, which is not followed here; give a list of names") from None
    return lambda text: len(text) in run(text, frozenset((0,)))


class _Unread(Exception):
    pass


def _sequence(nodes: Any, depth: int) -> Matcher:
    if depth > _DEEPEST:
        raise _Unread(f"groups more than {_DEEPEST} deep")
    steps = [_node(code, value, depth) for code, value in nodes]

    def run(text: str, places: Places) -> Places:
        for step in steps:
            if not places:
                return places
            places = step(text, places)
        return places

    return run


def _node(code: Any, value: Any, depth: int) -> Matcher:
    if code in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN):
        fits = _character(code, value)
        return lambda text, places: frozenset(i + 1 for i in places if i < len(text) and fits(text[i]))
    if code is codes.BRANCH:
        ways = [_sequence(way, depth + 1) for way in value[1]]
        return lambda text, places: frozenset().union(*(way(text, places) for way in ways))
    if code is codes.SUBPATTERN and not value[1] and not value[2]:
        return _sequence(value[3], depth + 1)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        least, most, inside = value
        return _repeat(_sequence(inside, depth + 1), least, most)
    if code is codes.AT and value in _AT:
        holds = _AT[value]
        return lambda text, places: frozenset(i for i in places if holds(text, i))
    raise _Unread(f"a part of the kind {str(code).lower()}")


def _repeat(once: Matcher, least: int, most: Any) -> Matcher:
    def run(text: str, places: Places) -> Places:
        for _ in range(min(least, len(text) + 1)):  # after so many, none moved on that still can
            places = once(text, places)
        reached = new = places
        for _ in range(min(int(most) - least, len(text) + 1)):
            new = once(text, new) - reached
            if not new:
                break
            reached |= new
        return reached

    return run


def _character(code: Any, value: Any) -> Callable[[str], bool]:
    if code is codes.LITERAL:
        return lambda c: ord(c) == value
    if code is codes.NOT_LITERAL:
        return lambda c: ord(c) != value
    if code is codes.ANY:
        return lambda c: c != "\n"
    negated = value[0][0] is codes.NEGATE
    items = [_item(kind, item) for kind, item in value[negated:]]
    return lambda c: any(item(c) for item in items) != negated


def _item(kind: Any, value: Any) -> Callable[[str], bool]:
    if kind is codes.LITERAL:
        return lambda c: ord(c) == value
    if kind is codes.RANGE:
        return lambda c: value[0] <= ord(c) <= value[1]
    if kind is codes.CATEGORY and value in _CATEGORIES:
        return _CATEGORIES[value]
    if kind is codes.CATEGORY and value in _NEGATED:
        return lambda c: not _CATEGORIES[_NEGATED[value]](c)
    raise _Unread(f"a part of the kind {str(kind).lower()}")


def _boundary(text: str, i: int) -> bool:
    word = _CATEGORIES[codes.CATEGORY_WORD]
    return (i > 0 and word(text[i - 1])) != (i < len(text) and word(text[i]))


_AT: dict[Any, Callable[[str, int], bool]] = {
    codes.AT_BEGINNING: lambda text, i: i == 0,
    codes.AT_BEGINNING_STRING: lambda text, i: i == 0,
    codes.AT_END: lambda text, i: i == len(text),
    codes.AT_END_STRING: lambda text, i: i == len(text),
    codes.AT_BOUNDARY: _boundary,
    codes.AT_NON_BOUNDARY: lambda text, i: not _boundary(text, i),
}
