"""What the values in a JSON file may be: kinds of values, and the check of a file's content against them.

Types are as strict as those of transformers since version 5: a whole number is not written as 12.0, "12" or true.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError


class Kind(NamedTuple):
    """A kind of values.

    Attributes:
      what: it in words, such as "a whole number from 1 to 10,000".
      fits: whether a value is of it.
    """

    what: str
    fits: Callable[[Any], bool]


def whole(least: int, most: int) -> Kind:
    """Returns the kind of whole numbers from `least` to `most`."""
    return Kind(f"a whole number from {least:,} to {most:,}", lambda x: type(x) is int and least <= x <= most)


def number(least: float, most: float) -> Kind:
    """Returns the kind of numbers, whole or not, from `least` to `most`."""
    return Kind(
        f"a number from {least:g} to {most:g}",
        lambda x: type(x) in (int, float) and least <= x <= most,
    )


def one_of(*texts: str) -> Kind:
    """Returns the kind of some texts alone."""
    return Kind(" or ".join(map(repr, texts)), lambda x: x in texts)


def optional(kind: Kind) -> Kind:
    """Returns a kind with None, which is null in JSON, beside its values."""
    return Kind(f"{kind.what}, or null", lambda x: x is None or kind.fits(x))


def either(*kinds: Kind) -> Kind:
    """Returns the kind of the values that are of any of some kinds."""
    return Kind(" or ".join(kind.what for kind in kinds), lambda x: any(kind.fits(x) for kind in kinds))


def many(kind: Kind, least: int, most: int) -> Kind:
    """Returns the kind of lists of `least` to `most` values of a kind."""
    count = f"{least}" if least == most else f"{least:,} to {most:,}"
    return Kind(
        f"a list of {count}, each {kind.what}",
        lambda x: isinstance(x, list | tuple) and least <= len(x) <= most and all(map(kind.fits, x)),
    )


def table(kind: Kind) -> Kind:
    """Returns the kind of objects whose values are all of a kind."""
    return Kind(f"an object, each value {kind.what}", lambda x: isinstance(x, dict) and all(map(kind.fits, x.values())))


def text(most: int) -> Kind:
    """Returns the kind of texts of at most so many characters."""
    return Kind(f"a text of at most {most:,} characters", lambda x: isinstance(x, str) and len(x) <= most)


FLAG = Kind("true or false", lambda x: isinstance(x, bool))
TEXT = text(200)
OBJECT = Kind("an object", lambda x: isinstance(x, dict))
SIZE = whole(1, 1 << 24)
LAYERS = whole(1, 10_000)
HEADS = whole(1, 1 << 16)
LENGTH = whole(1, (1 << 31) - 1)
DISTANCE = whole(2, 1 << 20)  # of a table of distances, which is made
SIDE = whole(1, 1 << 16)
SIDES = either(SIDE, many(SIDE, 2, 2))
CHANNELS = whole(1, 4096)
POSITIVE = number(1e-30, 1e30)
RATE = number(0, 1)
TOKEN = whole(-1, (1 << 31) - 1)  # of which older configs have -1 for none


def check(content: Mapping[str, Any], kinds: Mapping[str, Kind], where: str) -> None:
    """Checks the values of an object in a JSON file. Keys without a kind may have any value.

    Args:
      content: the object.
      kinds: by key; none has to be there.
      where: what to call the object in an error, such as "config.json".

    Raises:
      InputError: a value is not of its kind.
    """
    for key, kind in kinds.items():
        if key in content and not kind.fits(content[key]):
            raise InputError(f"{where}: {key}={shown(content[key])}; it must be {kind.what}")


def checked(content: Mapping[str, Any], kinds: Mapping[str, Kind], where: str) -> dict[str, Any]:
    """Returns what an object in a JSON file has of the keys that have a kind. Args and errors as for `check`."""
    check(content, kinds, where)
    return {key: content[key] for key in kinds if key in content}


def shown(value: Any) -> str:
    """Returns a value as Python has it, or its beginning where that is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
