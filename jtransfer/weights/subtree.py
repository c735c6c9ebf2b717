"""The one network, of those in a table of names, that fits a model: "encoder_q." of MoCo, "backbone." of Lightly."""

import collections
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights.formats import conventions

_DEEPEST = 5  # names that are put before a network's own


def prefixes(names: Iterable[str], least: int) -> list[str]:
    """Returns what at least so many names begin with, up to a dot, the shortest first."""
    counts: collections.Counter[str] = collections.Counter()
    for name in names:
        parts = name.split(".")[:-1][:_DEEPEST]
        counts.update(".".join(parts[: depth + 1]) for depth in range(len(parts)))
    return sorted((prefix for prefix, count in counts.items() if count >= least), key=lambda p: (p.count("."), p))


def below(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the tensors whose names begin with a prefix and a dot, by their names without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def choose(fitting: Collection[str], source: str) -> str:
    """Returns the prefix, among those of networks that fit equally well, of the one that is meant.

    Args:
      fitting: the prefixes.
      source: what to call the checkpoint in an error.

    Raises:
      InputError: no convention prefers one.
    """
    taken = next(iter(fitting)) if len(fitting) == 1 else conventions.prefer(fitting)
    if taken is None:
        ways = " or ".join(f"{source}:{prefix}" for prefix in fitting)
        raise InputError(f"{source} holds {len(fitting)} networks that fit; name one: {ways}")
    return taken


def note(taken: str, fitting: Sequence[str]) -> tuple[str, ...]:
    """Returns the line that says which network was taken."""
    return conventions.chosen(taken, fitting) or (f"took the network {taken!r}, and left out what is beside it",)
