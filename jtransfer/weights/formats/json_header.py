"""JSON from untrusted files: duplicate keys, depth and size are refused instead of resolved."""

import json
from typing import Any

from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Malformed

MAX_BYTES = 100_000_000
_NAMES = {dict: "an object", list: "a list"}


def read(file: File, kind: type = dict) -> Any:
    """Returns what a file in JSON holds, as `parse` does; one that is too long is not read."""
    if file.size > MAX_BYTES:
        raise Malformed(f"JSON of {file.size:,} bytes; at most {MAX_BYTES:,} are read")
    return parse(file.read(0, file.size), kind)


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
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"JSON is damaged: {str(error)[:200]}") from None
    if not isinstance(value, kind):
        raise Malformed(f"JSON is damaged: it does not begin with {_NAMES[kind]}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Malformed(f"JSON has the key {twice[:200]!r} twice")
    return result


def _refuse(name: str) -> None:
    raise Malformed(f"JSON has the number {name}")
