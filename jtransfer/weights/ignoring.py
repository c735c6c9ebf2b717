"""Tensors of a checkpoint that are not to be looked at, named by rules over their names."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer.core.errors import InputError, nearest
from jtransfer.weights.formats import Opened

ASKED = "asked to ignore"


def split(tensors: Mapping[str, Any], patterns: Sequence[str]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Returns the tensors whose names no pattern matches, and the names of the others.

    Args:
      tensors: by name.
      patterns: regular expressions, each of which must match a whole name.

    Raises:
      InputError: a pattern is no regular expression, or matches no name.
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        try:
            matched = [name for name in tensors if re.fullmatch(pattern, name)]
        except (re.error, TypeError) as error:
            raise InputError(f"ignore: {pattern!r} is not a regular expression: {error}") from None
        if not matched:
            close = nearest(pattern, tensors) or list(tensors)[:3]
            raise InputError(f"ignore: pattern {pattern!r} matches no tensor; nearest: {', '.join(close)}")
        names |= dict.fromkeys(matched)
    kept = {name: tensor for name, tensor in tensors.items() if name not in names}
    return dataclasses.replace(tensors, tensors=kept) if isinstance(tensors, Opened) else kept, tuple(names)
