"""JSON from untrusted files: duplicate keys, depth, size and numbers without end are refused instead of resolved."""

import json
import math
import os
from collections.abc import Iterator
from typing import Any

from jtransfer.weights.formats.lazy import Malformed

MAX_BYTES = 100_000_000
MAX_DEPTH = 100
_NAMES = {dict: "an object", list: "a list"}


def read(path: str | os.PathLike, kind: type = dict, limit: int = MAX_BYTES) -> Any:
    """Returns what a JSON file holds, of which no more than `limit` bytes are read.

    Raises:
      Malformed: as `parse`; or the file is longer.
    """
    with open(path, "rb") as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        raise Malformed(f"JSON of more than {limit:,} bytes, which are the most that are read")
    return parse(text, kind)


def parse(text: bytes, kind: type = dict) -> Any:
    """Returns what a text in JSON holds.

    Args:
      text: at most `MAX_BYTES` long.
      kind: `dict` or `list`, which the outermost value must be.

    Raises:
      Malformed: the text is not JSON, is too long or too deep, has a key twice, or holds something else.
    """
    if len(text) > MAX_BYTES:
        raise Malformed(f"JSON of {len(text):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"JSON is damaged: {str(error)[:200]}") from None
    if not isinstance(value, kind):
        raise Malformed(f"JSON is damaged: it does not begin with {_NAMES[kind]}")
    if any(depth > MAX_DEPTH for depth in _depths(value)):
        raise Malformed(f"JSON is nested more than {MAX_DEPTH} deep")
    return value


def _depths(value: Any) -> Iterator[int]:
    """The depths at which there are objects or lists."""
    level, depth = [value], 0
    while level:
        yield (depth := depth + 1)
        inner = [x for part in level for x in (part.values() if isinstance(part, dict) else part)]
        level = [x for x in inner if isinstance(x, dict | list)]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed(f"JSON has the number {text[:40]}, which is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Malformed(f"JSON has the key {twice[:200]!r} twice")
    return result


def _refuse(name: str) -> None:
    raise Malformed(f"JSON has the number {name}")
