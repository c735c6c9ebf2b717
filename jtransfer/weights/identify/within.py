"""Which model a checkpoint is of, where its network is one of several, or lies beneath the name of another module."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jtransfer.weights import subtree
from jtransfer.weights.identify.detect import Detection

_LEAST = 5  # of the tensors, one in so many at least is of the network


def told(
    tensors: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], Detection | None], source: str
) -> Detection | None:
    """Returns what `tell` says of the tensors, or of those of one network among them which fit a model exactly.

    Args:
      tensors: by name; they need a shape.
      tell: a function that tells which model some tensors are of, None if of none.
      source: what to call the checkpoint in an error.

    Raises:
      InputError: several networks are of different models, and no convention prefers one.
    """
    whole = tell(tensors)
    if whole is not None and not whole.misfits:
        return whole
    exact: dict[str, Detection] = {}
    alike: dict[frozenset, Detection | None] = {}  # networks of the same names and shapes
    for prefix in subtree.prefixes(tensors, max(4, len(tensors) // _LEAST)):
        if not any(prefix.startswith(f"{found}.") for found in exact):
            inner = subtree.below(tensors, prefix)
            key = frozenset((name, tuple(tensor.shape)) for name, tensor in inner.items())
            found = alike[key] if key in alike else alike.setdefault(key, tell(inner))
            if found is not None and not found.misfits:
                exact[prefix] = found
    if not exact:
        return whole
    different = len({str(found) for found in exact.values()}) > 1
    prefix = subtree.choose(exact, source) if different else next(iter(exact))
    return dataclasses.replace(exact[prefix], prefix=prefix)
