"""Which of several networks in one file is meant, as those take it who publish such files.

The average of the weights rather than what was averaged, as timm does; DINO's teacher; MoCo's query encoder, and BYOL's
online network.
"""

import re
from collections.abc import Collection, Sequence

_AVERAGES = frozenset(("ema", "averaged", "swa", "shadow"))
_BETTER = (  # a word of the one's name, and a word of the other's, where None is any: the first is taken
    ("teacher", "student"),
    ("q", "k"),
    ("query", "key"),
    ("online", "target"),
    ("online", None),
    (None, "momentum"),
    (None, "attacker"),
)
_SHOWN = 6


def prefer(names: Collection[str]) -> str | None:
    """Returns the name, among those of networks that fit equally well, of the one to take; None if none is preferred.

    Args:
      names: such as "module.encoder_q" or "model/teacher".
    """
    best = [name for name in names if all(_wins(name, other) for other in names if other != name)]
    return best[0] if len(best) == 1 else None


def chosen(taken: str, names: Sequence[str]) -> tuple[str, ...]:
    """Returns a line about the network that was taken, or nothing if it is the only one."""
    others = [name for name in names if name != taken]
    if not others:
        return ()
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    shown = ", ".join(map(repr, others[:_SHOWN])) + more
    return (f"took the network {taken!r}; beside it: {shown} (name one, as SOURCE:{others[0]})",)


def _wins(one: str, other: str) -> bool:
    return _better(one, other) and not _better(other, one)


def _better(one: str, other: str) -> bool:
    mine, theirs = _words(one), _words(other)
    if mine & _AVERAGES or theirs & _AVERAGES:
        return bool(mine & _AVERAGES) and not theirs & _AVERAGES
    mine, theirs = mine - theirs, theirs - mine
    return any((word is None or word in mine) and (against is None or against in theirs) for word, against in _BETTER)


def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[./_]", name.lower()))
