"""The models that can be named, with their sizes, inputs and known weights; nothing heavy is imported.

`known.json` has what was found by tracing each model; a test compares it with the models.
"""

import fnmatch
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jtransfer.core.errors import unknown

__all__ = ["Known", "find", "load"]


class Known(NamedTuple):
    """A model of the package.

    Attributes:
      name: As `config.model.name` and `models.create` take it.
      takes: The kinds of its inputs, such as "image".
      input: Name → dtype and shape of an example, without the batch; one without a name where the input is an array.
      parameters: Their number, with a head of 1,000 classes, or of the vocabulary where the model writes texts.
      without_head: Their number without the head.
      addresses: Of pretrained weights.
    """

    name: str
    takes: Sequence[str]
    input: Mapping[str, Sequence[str | int]]
    parameters: int
    without_head: int
    addresses: Sequence[str]


@functools.cache
def load() -> tuple[Known, ...]:
    """Returns all models, sorted by name."""
    table = json.loads(Path(__file__).with_name("known.json").read_text("utf-8"))
    return tuple(Known(name, **fields) for name, fields in sorted(table.items()))


def find(pattern: str = "") -> list[Known]:
    """Returns the models whose names hold a text, or match a pattern with `*`, `?` or `[…]`, such as "resnet*d".

    An address of weights is looked for as well, so that "timm/resnet50" finds "resnet50".

    Args:
      pattern: The text or pattern; "" is all models. Upper case does not count.

    Raises:
      InputError: There is none; the nearest are named.
    """
    wanted = pattern.lower()
    asked = wanted if set("*?[") & set(wanted) else f"*{wanted}*"
    found = [one for one in load() if _matches(one, asked)]
    if not found:
        raise unknown("model", pattern, (one.name for one in load()))
    return found


def _matches(one: Known, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(text.lower(), pattern) for text in (one.name, *one.addresses))
