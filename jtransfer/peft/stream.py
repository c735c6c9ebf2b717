"""Features in what passes between modules: an array, a dict with "x", or a tuple that begins with one of these."""

from collections.abc import Mapping
from typing import Any


def read(value: Any) -> Any:
    """Returns the features in what a module takes or returns, an array or its shape; None where there are none."""
    if isinstance(value, Mapping):
        return value.get("x")
    if isinstance(value, tuple | list):
        return read(value[0]) if value else None
    return value if hasattr(value, "shape") else None


def write(value: Any, x: Any) -> Any:
    """Returns what a module takes or returns with other features in it."""
    if isinstance(value, Mapping):
        return {**value, "x": x}
    if isinstance(value, tuple | list):
        return type(value)([write(value[0], x), *value[1:]])
    return x


def first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Returns the first of the arguments that a module is called with."""
    return args[0] if args else next(iter(kwargs.values()))


def replaced(args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns arguments with another one in place of the first."""
    if args:
        return (value, *args[1:]), dict(kwargs)
    return (), {**kwargs, next(iter(kwargs)): value}
