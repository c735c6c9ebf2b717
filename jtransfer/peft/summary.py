"""What adapters there are, told from their tree alone."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from jtransfer.core import tree as trees
from jtransfer.peft import slots
from jtransfer.peft.method import FIXED

_NUMBER = re.compile(r"\d+")


class Adapted(NamedTuple):
    """An adapter of one module.

    Attributes:
      path: of the module.
      slot: of the adapter, such as "lora".
      rank: of a low-rank adapter, the number of columns of its first factor; else None.
      count: how many numbers are trained.
    """

    path: str
    slot: str
    rank: int | None
    count: int


def adapted(adapters: trees.Tree) -> Iterator[Adapted]:
    """Yields each adapter of a tree, of arrays or shapes, in the order of the tree."""
    for path, slot, own in slots.split(adapters):
        moving = {name: leaf for name, leaf in own.items() if name != FIXED}
        shape = getattr(moving.get("a"), "shape", None)
        yield Adapted(path, slot, shape[-1] if shape else None, trees.count(moving))


def kind(path: str) -> str:
    """Returns a path with a star in place of each number before the last name: that of a module in every layer."""
    around, slash, name = path.rpartition("/")
    return _NUMBER.sub("*", around) + slash + name
