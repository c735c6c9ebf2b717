"""Fields that a config gives a piece (a term, an adapter, an evaluator), checked by the annotations of its maker."""

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from jtransfer.core.errors import InputError, one_line, unknown

_PLAIN = (int, float, bool, str, type(None))
_WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
}  # in errors


class Bounds(NamedTuple):
    """Bounds of a number, given in an annotation: `Annotated[float, Bounds(0, 1)]`.

    Attributes:
      low, high: between which the number is.
      ends: of the interval; with "(" the lower bound is left out, with ")" the upper one.
    """

    low: float = -math.inf
    high: float = math.inf
    ends: Literal["[]", "[)", "(]", "()"] = "[]"

    def hold(self, value: Any) -> bool:
        """Returns whether a number is within the bounds; what is no number is."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        above = self.low < value if self.ends[0] == "(" else self.low <= value
        return above and (value < self.high if self.ends[1] == ")" else value <= self.high)

    @property
    def told(self) -> str:
        """Returns what the bounds are called in an error, such as "above 0"."""
        if self.high == math.inf:
            return f"above {self.low:g}" if self.ends[0] == "(" else f"of at least {self.low:g}"
        return f"in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"


Positive = Annotated[float, Bounds(0, ends="()")]
NotNegative = Annotated[float, Bounds(0)]
Count = Annotated[int, Bounds(1)]
CountOrZero = Annotated[int, Bounds(0)]


def check(where: str, kind: str, name: str, make: Callable, given: Mapping[str, Any], *, skip: int) -> None:
    """Checks the names and kinds of fields before a piece is made with them.

    Args:
      where: The section of the config, for the error.
      kind: What the piece is, such as "objective term", for the error.
      name: The piece's name.
      make: The function that takes the fields as keyword arguments. Its annotations tell their kinds.
      given: Name → value.
      skip: How many of its first parameters are no fields.

    Raises:
      InputError: A field is unknown, is of another kind, or is missing.
    """
    parameters = list(inspect.signature(make).parameters.values())[skip:]
    known = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    any_other, kinds = any(p.kind == p.VAR_KEYWORD for p in parameters), _kinds(make)
    for field, value in given.items():
        if field not in known and not any_other:
            raise unknown(f"field of the {kind} {name!r}:", field, known)
        if not is_of(value, kinds.get(field)):
            raise InputError(
                f"{where}: {field}={one_line(repr(value))} of {name!r} is of no kind that it takes; give "
                f"{told(kinds[field])}{_usual(known[field])}"
            )
    for field, parameter in known.items():
        if parameter.default is parameter.empty and field not in given:
            raise InputError(f"{where}: {name!r} needs the field {field!r}, {told(kinds.get(field))}")


def is_of(value: Any, annotation: Any) -> bool:
    """Returns whether a value is of the kind of an annotation; where nothing is known of the annotation, it is.

    Known are plain types, `Literal`, unions, sequences and tuples of them, mappings, and `Bounds` of numbers. A number
    is no bool, is finite, and may be whole where a float is wanted; a text is no sequence.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(is_of(value, kind) for kind in inner)
    if origin is typing.Annotated:
        bounds = [one for one in inner[1:] if isinstance(one, Bounds)]
        return is_of(value, inner[0]) and all(one.hold(value) for one in bounds)
    if origin is typing.Literal:
        return any(type(value) is type(word) and value == word for word in inner)
    if origin is tuple and not (len(inner) == 2 and inner[1] is ...):
        return _is_sequence(value) and len(value) == len(inner) and all(map(is_of, value, inner))
    if origin in (tuple, list, collections.abc.Sequence):
        return _is_sequence(value) and all(is_of(one, inner[0]) for one in value)
    if origin in (dict, collections.abc.Mapping):
        return isinstance(value, Mapping)
    return _is_plain(value, annotation) if annotation in _PLAIN else True


def _is_sequence(value: Any) -> bool:
    return isinstance(value, collections.abc.Sequence) and not isinstance(value, str | bytes)


def _is_plain(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


def told(annotation: Any) -> str:
    """Returns what a kind is called in an error, such as "a whole number" or "a list, each a text"."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(told, inner))
    if origin is typing.Annotated:
        return " ".join([told(inner[0]), *(one.told for one in inner[1:] if isinstance(one, Bounds))])
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    if origin is tuple and not (len(inner) == 2 and inner[1] is ...):
        return f"a list of {', '.join(map(told, inner))}"
    if origin in (tuple, list, collections.abc.Sequence):
        return f"a list, each {told(inner[0])}"
    if origin in (dict, collections.abc.Mapping):
        return "a dict"
    return _WORDS.get(annotation, "a value")


def _kinds(make: Callable) -> dict[str, Any]:
    try:
        return typing.get_type_hints(make, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _usual(parameter: inspect.Parameter) -> str:
    default = parameter.default
    return "" if default in (inspect.Parameter.empty, None, "", ()) else f", such as {default!r}"
