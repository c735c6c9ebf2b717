"""Corruptions of texts at five severities, of so many of their letters; each word keeps at least one character."""

import re
from collections.abc import Callable

import numpy as np

SHARES = (0.02, 0.05, 0.1, 0.15, 0.25)  # of the letters, by severity

Corruption = Callable[..., str]


def typos(text: str, severity: int, rng: np.random.Generator) -> str:
    """Exchanges letters with those that follow them in the same word."""
    letters = list(text)
    for i in _drawn(text, severity, rng):
        if i + 1 < len(letters) and letters[i].isalnum() and letters[i + 1].isalnum():
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def case(text: str, severity: int, rng: np.random.Generator) -> str:
    """Turns small letters into capitals and capitals into small letters."""
    chosen = set(_drawn(text, severity, rng))
    return "".join(letter.swapcase() if i in chosen else letter for i, letter in enumerate(text))


def deletion(text: str, severity: int, rng: np.random.Generator) -> str:
    """Leaves out letters, but for the first of each word."""
    chosen = set(_drawn(text, severity, rng)) - {found.start() for found in re.finditer(r"\S+", text)}
    return "".join(letter for i, letter in enumerate(text) if i not in chosen)


def _drawn(text: str, severity: int, rng: np.random.Generator) -> list[int]:
    """The places of the letters that are spoilt."""
    places = [i for i, letter in enumerate(text) if letter.isalnum()]
    return [i for i, drawn in zip(places, rng.random(len(places)), strict=True) if drawn < SHARES[severity - 1]]


CORRUPTIONS: dict[str, Corruption] = {"typos": typos, "case": case, "deletion": deletion}
