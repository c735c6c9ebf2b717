"""The one error a user can cause, and how a name that does not exist is answered."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave is wrong. The message is one clear text that says what to do; commands exit with code 2."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The up to `n` known names most like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=n, cutoff=0.3)


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """`unknown optimizer 'adamx'; nearest: adam, adamw, adamax` as an error to raise."""
    known = sorted(known)
    close = nearest(name, known) or known[:5]
    return InputError(f"unknown {kind} {name!r}; nearest: {', '.join(close) or 'none exist'}")
