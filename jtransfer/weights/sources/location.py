"""Where a checkpoint lies."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Location(NamedTuple):
    """Where a checkpoint lies, and how its files come to this machine.

    Attributes:
      weights: brings the weights to this machine and returns the local path of their file or folder; raises
        `InputError` if it can't.
      file: brings another file of the same folder, given by its name, and returns its local path, or None if there is
        no such file; raises `InputError` if that can't be told.
      subtree: the part of the tree of tensors that is meant, such as "img/head"; "" means all of it.
      notes: returns lines about other weights that lie beside those, as far as that is known without asking again.
    """

    weights: Callable[[], Path]
    file: Callable[[str], Path | None]
    subtree: str = ""
    notes: Callable[[], tuple[str, ...]] = tuple
