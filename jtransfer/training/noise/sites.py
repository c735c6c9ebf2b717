"""Modules that a noise is on: those of a class whose paths match, and the noise's probability."""

import re
from collections.abc import Mapping

from jtransfer.core.errors import InputError, some


def matching(modules: Mapping[str, type], kind: type, at: str, noise: str) -> frozenset[str]:
    """Returns the paths of the modules of a class that match a regular expression.

    Args:
      modules: path → class of every module that the model calls.
      kind: the class.
      at: the regular expression, of whole paths.
      noise: its name, for errors.

    Raises:
      InputError: there is none, or `at` is no regular expression.
    """
    try:
        pattern = re.compile(at)
    except (re.error, TypeError) as error:
        raise InputError(f"noise: {noise!r}: at={at!r} is not a regular expression: {error}") from None
    of_kind = [path for path, found in modules.items() if issubclass(found, kind)]
    if not of_kind:
        raise InputError(f"noise: {noise!r} is for models with {kind.__name__}, and this one has none; leave it out")
    if not (matched := [path for path in of_kind if pattern.fullmatch(path)]):
        raise InputError(f"noise: {noise!r}: at={at!r} matches none of the model's {kind.__name__}: {some(of_kind)}")
    return frozenset(matched)


def probability(noise: str, p: object, *, below_one: bool = False) -> float:
    """Returns a probability.

    Raises:
      InputError: it is none.
    """
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1 or (below_one and p == 1):
        raise InputError(f"noise: {noise!r}: p={p!r} must be from 0 to 1{', below 1' if below_one else ''}")
    return float(p)
