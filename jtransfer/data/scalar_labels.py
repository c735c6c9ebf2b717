"""Labels that are one word or one number each: classes, or numbers to predict."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.data.label_items import Item

_WHOLE, _NUMBER = re.compile(r"[-+]?\d+"), re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_INFINITE = re.compile(r"[-+]?(inf|infinity)", re.IGNORECASE)
MOST = 1_000_000  # classes
_REGRESS = "set task='regress' if they are numbers to predict"
_CLASSIFY = "set task='classify' if all of them are names of classes"

Encoded = tuple[str, Callable[[Any], Any], list[str]]


def encode(
    items: Sequence[Item],
    name: str,
    class_names: Sequence[str] | None,
    kind: str = "",
    ignored: tuple[int, ...] = (),
) -> Encoded:
    """Returns the kind of labels, the function from a label to its number, and the names of the classes.

    Args:
      items: The labels.
      name: The name of their column.
      class_names: The names of the classes in order, where the file states them.
      kind: "class" or "number"; "" takes whole numbers, words and booleans as classes, and others as numbers.
      ignored: Numbers that stand for no class.

    Raises:
      InputError: A label is of another kind than the others, or none of the classes.
    """
    words = {value for value, _, _ in items if isinstance(value, str)}
    read = _reading(words if kind == "number" or class_names is None else set())
    values = [(read(value), where, i) for value, where, i in items]
    types = {type(value) for value, _, _ in values}
    if kind == "number":
        return _numbers(values, read, name)
    if types == {str}:
        if class_names is None:
            _check_words(items, words, name, kind)
        return "class", *_words(values, class_names)
    if types == {bool}:
        return "class", int, list(class_names or ("false", "true"))
    if types <= {int} or (kind == "class" and types <= {int, float} and _all_whole(values, name)):
        number, names = _whole(values, name, class_names, ignored)
        return "class", lambda value: number(int(read(value))), names
    return _numbers(values, read, name)


def _reading(words: set[str]) -> Callable[[Any], Any]:
    """What makes numbers of words if all of them are numbers."""
    stripped = [word.strip() for word in words]
    for pattern, kind in ((_WHOLE, int), (_NUMBER, float)):
        if stripped and all(pattern.fullmatch(word) for word in stripped):
            return lambda value: kind(value) if isinstance(value, str) else value
    return lambda value: value


def _numbers(values: Sequence[Item], read: Callable[[Any], Any], name: str) -> Encoded:
    for value, where, i in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            rest = [v for v, _, _ in values]
            if isinstance(value, str) and any(isinstance(v, str) and _NUMBER.fullmatch(v.strip()) for v in rest):
                value, where, i = next(one for one in values if not _NUMBER.fullmatch(str(one[0]).strip()))
            raise InputError(
                f"{where(i)}: the label {value!r:.60} of {name!r} is unlike others; all must be words, or all numbers "
                "(with a decimal point, no comma)"
            )
        if not math.isfinite(value):
            raise InputError(f"{where(i)}: the label {value!r} of {name!r} is not finite; correct or remove the row")
    return "number", lambda value: float(read(value)), [name]


def _all_whole(values: Sequence[Item], name: str) -> bool:
    for value, where, i in values:
        if not math.isfinite(value) or value != int(value):
            raise InputError(
                f"{where(i)}: the label {value!r} of {name!r} is no whole number: task='classify' needs labels of the "
                f"kind 'class'; these are 'number'; {_REGRESS}"
            )
    return True


def _check_words(items: Sequence[Item], words: set[str], name: str, kind: str) -> None:
    """Refuses words of which most are numbers, but not all."""
    numbers = {word for word in words if _NUMBER.fullmatch(word.strip()) or _INFINITE.fullmatch(word.strip())}
    decimal = {word for word in numbers if not _WHOLE.fullmatch(word.strip())}
    strays = [item for item in items if item[0] not in numbers]
    strays = strays or [item for item in items if _INFINITE.fullmatch(item[0].strip())]
    count = len(items) - len(strays)
    if not numbers or (kind == "class" and not decimal) or 2 * count < len(items):
        return
    value, where, i = strays[0]
    also = "" if decimal and kind == "class" else f"; or {_CLASSIFY}"
    raise InputError(
        f"{where(i)}: the label {value!r:.60} of {name!r} is no number, unlike {count:,} of {len(items):,}; correct "
        f"it, or remove the row{also}"
    )


def _words(items: Sequence[Item], class_names: Sequence[str] | None) -> tuple[Callable, list[str]]:
    names = list(class_names or sorted({value for value, _, _ in items}))
    number = {word: i for i, word in enumerate(names)}
    for value, where, i in items:
        if value not in number:
            raise InputError(f"{where(i)}: the label {value!r:.60} is none of the classes {', '.join(names[:10])}")
    return number.__getitem__, names


def _whole(
    items: Sequence[Item], name: str, class_names: Sequence[str] | None, ignored: tuple[int, ...]
) -> tuple[Callable, list[str]]:
    largest = max((int(value) for value, _, _ in items), default=0)
    if largest >= MOST:
        raise InputError(f"the labels {name!r} go up to {largest}: too many classes; {_REGRESS}")
    names = list(class_names or map(str, range(max(largest, 0) + 1)))
    for value, where, i in items:
        if value not in ignored and not 0 <= value < len(names):
            hint = "; -1 often stands for a label that is kept secret" if value == -1 else ""
            raise InputError(f"{where(i)}: the label {value} of {name!r} is out of range 0 to {len(names) - 1}{hint}")
    return (lambda value: -1 if value in ignored else value), names
