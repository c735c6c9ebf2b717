"""The error that a user causes, its message for a name that does not exist, and lists of names in messages."""

import difflib
from collections.abc import Iterable, Sequence

from jtransfer.core.show import one_line, shown


class InputError(ValueError):
    """An error in what the user gave; its message says what to do. Commands print it and exit with code 2."""


class Diverged(InputError):
    """The error of a run whose numbers are no longer finite; whoever tries many settings may go on with the next."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Returns up to `n` known names that are most similar to `name`, the most similar first."""
    return difflib.get_close_matches(name, list(known), n=n, cutoff=0.3)


def some(names: Sequence[str], most: int = 5) -> str:
    """Returns names as one text, "a, b and 3 more" where there are more than `most`; each is one line."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def unknown(
    kind: str, name: str, known: Iterable[str], *, every: bool = False, close: Sequence[str] = ()
) -> InputError:
    """Returns the error of a name that does not exist, which names the most similar ones.

    The message is such as "unknown optimizer 'adamx'; nearest: adam, adamw, adamax".

    Args:
      kind: What the name is a name of.
      name: The name that was given.
      known: The names that exist.
      every: Whether all names are listed, after the most similar ones.
      close: The most similar ones, where these are known otherwise.
    """
    known = sorted(known)
    close = close or nearest(name, known) or known[:5]
    others = [one for one in known if one not in close] if every else []
    rest = f"; others: {some(others, 100)}" if others else ""
    return InputError(f"unknown {kind} {one_line(name)!r}; nearest: {some(close) or 'none exist'}{rest}")
