"""What a tokenizer's files may hold: checked before a library is given them, which would take memory without end.

The most that known tokenizers have is 0.9 million tokens, 40 MB, and pieces of some hundred characters.
"""

import base64
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line
from jtransfer.modalities.text.tokenizers import charsmap, patterns

_MOST_BYTES = 64_000_000  # of a file
_MOST_VALUES = 3_000_000  # of a JSON file
_MOST_TOKENS = 1_000_000
_MOST_IDS = 4_000_000
_LONGEST = 4096  # characters of a piece, and of any text of a rule
_MOST_WORK = 400_000_000  # squares of the pieces' lengths, which finding merges takes
_MOST_RULES = 200
_MOST_GROWTH = 64  # times that rules may lengthen a text
_LARGEST = {"max_input_chars_per_word": 10_000}  # number of a rule; of others as of ids


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what the libraries raise for a damaged file, panics of Rust included, into an InputError that names it."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = one_line((str(error) or type(error).__name__).splitlines()[0])
        raise InputError(f"{path}: cannot be read as a tokenizer: {said}") from None


def raw(path: Path) -> bytes:
    """Returns the bytes of a file.

    Raises:
      InputError: It can't be read, or is larger than any known tokenizer's.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise InputError(f"{path}: has {size:,} bytes; of a tokenizer's file at most {_MOST_BYTES:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
      InputError: There is no such file, it is too large, or it is no JSON.
    """
    content = raw(path)
    if content.count(b",") + content.count(b"[") + content.count(b"{") > _MOST_VALUES:
        raise InputError(f"{path}: holds more than {_MOST_VALUES:,} values; no tokenizer has as many")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON: {error}") from None


def check_lines(content: bytes, path: Path) -> None:
    """Raises InputError if a file with a token on each line has too many."""
    if (count := content.count(b"\n")) > _MOST_TOKENS:
        raise InputError(f"{path}: has {count:,} lines; at most {_MOST_TOKENS:,} tokens are read")


def check_pieces(pieces: Collection[str], path: Path) -> None:
    """Checks the tokens of a vocabulary, or those that are added to it.

    Raises:
      InputError: There are too many, or they are too long.
    """
    if len(pieces) > _MOST_TOKENS:
        raise InputError(f"{path}: has {len(pieces):,} tokens; at most {_MOST_TOKENS:,} are read")
    if not all(isinstance(piece, str) for piece in pieces):
        raise InputError(f"{path}: its tokens must be texts")
    longest = max(map(len, pieces), default=0)
    if longest > _LONGEST:
        raise InputError(f"{path}: has a token of {longest:,} characters; at most {_LONGEST:,} are read")
    if sum(len(piece) ** 2 for piece in pieces) > _MOST_WORK:
        raise InputError(f"{path}: its tokens are too long together; no tokenizer has as many long ones")


def check_vocabulary(content: Any, path: Path) -> None:
    """Checks a mapping from tokens to ids.

    Raises:
      InputError: It is none, or has too many or too long tokens, or an id out of range.
    """
    if not isinstance(content, dict):
        raise InputError(f"{path}: must map tokens to ids")
    check_pieces(content, path)
    check_ids(content.values(), path)


def check_ids(ids: Iterable[Any], path: Path) -> None:
    """Checks ids of tokens.

    Raises:
      InputError: One is no whole number, or out of range.
    """
    for i in ids:
        if type(i) is not int or not 0 <= i < _MOST_IDS:
            raise InputError(f"{path}: has the id {one_line(repr(i), 40)}; ids are numbers from 0 to {_MOST_IDS - 1:,}")


def check_json(content: Any, path: Path) -> None:
    """Checks the content of a `tokenizer.json`: its vocabulary, its rules and its added tokens.

    Raises:
      InputError: Something is too large, or a rule could take a text endless time or memory.
    """
    if not isinstance(content, dict) or not isinstance(model := content.get("model"), dict):
        raise InputError(f"{path}: is no tokenizer.json: it has no model")
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        check_vocabulary(vocabulary, path)
    elif isinstance(vocabulary, list):
        check_pieces([entry[0] for entry in vocabulary if isinstance(entry, list) and entry], path)
    rest = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
    rules = [content.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")]
    for rule in (*rules, rest):
        for part in _parts(rule, path):
            _check_rule(part, path)
    check_growth(_parts(content.get("normalizer"), path), path)
    added = [token for token in content.get("added_tokens") or () if isinstance(token, dict)]
    check_pieces([token.get("content") for token in added], path)  # pyright: ignore[reportArgumentType]
    check_ids([token.get("id") for token in added], path)


def _parts(rule: Any, path: Path) -> list[Mapping[str, Any]]:
    """The objects in a rule, the outer ones first."""
    found, todo = [], [rule]
    while todo:
        value = todo.pop(0)
        if isinstance(value, dict):
            found.append(value)
            todo += value.values()
        elif isinstance(value, list):
            todo += value
        if len(found) + len(todo) > 10 * _MOST_RULES:
            raise InputError(f"{path}: has more rules than any known tokenizer")
    return found


def _check_rule(part: Mapping[str, Any], path: Path) -> None:
    if part.get("type") == "FixedLength" and part.get("length") == 0:
        raise InputError(f"{path}: cuts texts into parts of length 0")
    for name, value in part.items():
        if name == "precompiled_charsmap" and isinstance(value, str):
            with readable(path):
                check_charsmap(base64.b64decode(value), path)
        elif isinstance(value, str) and len(value) > _LONGEST and name != "Regex":
            raise InputError(f"{path}: has {one_line(name, 40)!r} of {len(value):,} characters; at most {_LONGEST:,}")
        elif type(value) is int and not 0 <= value <= _LARGEST.get(name, _MOST_IDS):
            raise InputError(f"{path}: has {one_line(name, 40)!r}={one_line(repr(value), 40)}, which is out of range")
        elif name == "Regex" and isinstance(value, str) and (problem := patterns.danger(value)):
            raise InputError(f"{path}: the pattern {one_line(value, 80)!r} {problem}")


def check_growth(parts: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Checks how much longer the replacements of a normalizer make a text, one after the other.

    Args:
      parts: The objects of the normalizer.
      path: For errors.

    Raises:
      InputError: It may be much longer.
    """
    growth = 1.0
    for part in parts:
        pattern, content = part.get("pattern"), part.get("content")
        if isinstance(pattern, dict) and isinstance(content, str):
            replaced = pattern.get("String")
            regular = not isinstance(replaced, str)
            growth *= 1 + len(content) if regular else max(1, len(content) / max(1, len(replaced)))
    if growth > _MOST_GROWTH:
        raise InputError(f"{path}: its replacements may make a text {growth:,.0f} times as long; no tokenizer does")


def check_charsmap(content: bytes, path: Path) -> None:
    """Checks the map of characters of a SentencePiece model.

    Raises:
      InputError: It is damaged, or has a text that is long.
    """
    if content and (problem := charsmap.damage(content)):
        raise InputError(f"{path}: {problem}")


def check_fields(message: bytes, path: Path) -> None:
    """Checks how many fields a SentencePiece model has, each of which would take a hundred bytes of memory.

    Args:
      message: The bytes of the model, a protobuf whose fields are all of bytes.
      path: For errors.

    Raises:
      InputError: There are more than any known model has tokens.
    """
    count, at = 0, 0
    while at < len(message):
        size, shift, at = 0, 0, at + 1
        while at < len(message) and shift < 64:
            size, shift, at = size | (message[at] & 127) << shift, shift + 7, at + 1
            if message[at - 1] < 128:
                break
        count, at = count + 1, at + size
        if count > _MOST_TOKENS:
            raise InputError(f"{path}: has more than {_MOST_TOKENS:,} pieces; no known model has as many")
