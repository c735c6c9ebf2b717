"""Refuses regular expressions that may take a time that doubles with each character of a text."""

import re
from typing import NamedTuple

_LONGEST = 10_000  # characters of a pattern
_MOST_REPEATS = 10_000
_QUANTIFIER = re.compile(r"([*+?]|\{(\d*)(,?)(\d*)\})[?+]?")
_GROUP = re.compile(r"\((?:\?(?:#[^)]*\)|[imsx-]+\)|:|=|!|<=|<!|>|[imsx-]+:|P?<\w+>))?")
_BACK = re.compile(r"\\(?:[1-9]|[kg][<{'])")
_ESCAPE = re.compile(r"\\(?:[pPxX]\{[^}]*\}|.)", re.DOTALL)


class _Part(NamedTuple):
    """What is known of a group so far.

    Attributes:
      start: where it begins.
      varies: whether something in it may be repeated another number of times.
      firsts: what each of its alternatives begins with; "" for what is no plain character.
    """

    start: int
    varies: bool = False
    firsts: tuple[str, ...] = ()


def danger(pattern: str) -> str:
    """Returns what is wrong with a pattern, or "".

    A group that is repeated must hold nothing that is repeated itself a varying number of times, and its alternatives
    must begin with different characters: otherwise there may be as many ways to match a text as 2 to its length.

    Args:
      pattern: A regular expression of Oniguruma, as tokenizers have.
    """
    if len(pattern) > _LONGEST:
        return f"has {len(pattern):,} characters; at most {_LONGEST:,} are read"
    if found := _BACK.search(pattern):
        return f"refers back by {found[0]!r}"
    groups, at, begins, last = [_Part(0)], 0, True, None
    while at < len(pattern):
        letter, quantifier = pattern[at], None if begins else _QUANTIFIER.match(pattern, at)
        if quantifier:
            varies, repeats, most = _read(quantifier)
            if most > _MOST_REPEATS:
                return f"repeats {quantifier[0]}; at most {_MOST_REPEATS:,} times is read"
            if last and repeats and (last.varies or _alike(last.firsts)):
                return f"may take endless time: it repeats {pattern[last.start : quantifier.end()]!r:.60}"
            groups[-1] = groups[-1]._replace(varies=groups[-1].varies or varies)
            at, last = quantifier.end(), None
            continue
        if begins:
            groups[-1] = groups[-1]._replace(firsts=(*groups[-1].firsts, _plain(pattern, at)))
        last, begins = None, letter == "|"
        if letter == "(":
            group = _GROUP.match(pattern, at)
            assert group is not None
            if not group[0].endswith(")"):
                groups.append(_Part(at))
            at, begins = group.end(), True
        elif letter == ")":
            if len(groups) == 1:
                return "closes a group that is not open"
            last = groups.pop()
            groups[-1] = groups[-1]._replace(varies=groups[-1].varies or last.varies)
            at += 1
        else:
            at = _after(pattern, at)
    return ""


def _plain(pattern: str, at: int) -> str:
    """The character that a pattern has at a place; "" if it may be several there, or none."""
    if pattern[at] == "\\":
        following = pattern[at + 1 : at + 2]
        return pattern[at : at + 2] if following in "rntfv" or not following.isalnum() else ""
    return "" if pattern[at] in "[.^$()|" else pattern[at]


def _read(quantifier: re.Match) -> tuple[bool, bool, int]:
    """(whether the number of repeats varies, whether there may be several, the greatest number that is named)."""
    sign, low, comma, high = quantifier[1], quantifier[2], quantifier[3], quantifier[4]
    if sign in "*+?":
        return True, sign != "?", 0
    least, most = int(low or 0), int(high or 0)
    exact = not comma
    return not exact and low != high, (exact and least > 1) or (not exact and (not high or most > 1)), max(least, most)


def _alike(firsts: tuple[str, ...]) -> bool:
    return len(firsts) > 1 and ("" in firsts or len(set(firsts)) < len(firsts))


def _after(pattern: str, at: int) -> int:
    """Where the single character or class that begins at a place ends."""
    if pattern[at] == "\\":
        escape = _ESCAPE.match(pattern, at)
        return escape.end() if escape else len(pattern)
    return _after_class(pattern, at) if pattern[at] == "[" else at + 1


def _after_class(pattern: str, at: int) -> int:
    depth = 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            depth += 1
            at += pattern[at + 1 : at + 2] == "^"
            at += pattern[at + 1 : at + 2] == "]"  # which is a character there
        elif pattern[at] == "]":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return len(pattern)
