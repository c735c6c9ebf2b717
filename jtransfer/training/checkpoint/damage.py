"""What is damaged: the error, and how several processes agree on it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jtransfer.core.errors import InputError
from jtransfer.weights.formats.lazy import Malformed

T = TypeVar("T")
_RAISED = (AttributeError, LookupError, Malformed, OSError, OverflowError, TypeError, ValueError)  # by what reads files


class Damaged(InputError):
    """A checkpoint, or a frozen part, that is not whole: some of it is missing, or is not what was saved."""


@contextlib.contextmanager
def found_in(path: Any) -> Iterator[None]:
    """Makes a `Damaged`, which names the path, of what reading it raises."""
    try:
        yield
    except Damaged:
        raise
    except _RAISED as error:
        reason = " ".join(str(error).split()).replace(f"{path}/", "").removeprefix(f"{path}: ")
        raise Damaged(f"{path} is damaged: {reason or type(error).__name__:.200}") from error


def together(read: Callable[[], T]) -> T:
    """Returns `read()`, which each process calls; if it finds damage on one of them, all of them raise it."""
    if jax.process_count() == 1:
        return read()
    found, damage = None, None
    try:
        found = read()
    except Damaged as error:
        damage = error
    failed = np.asarray(multihost_utils.process_allgather(np.array([damage is not None])))
    if damage is not None:
        raise damage
    if failed.any():
        raise Damaged(f"process {int(failed.reshape(-1).argmax())} found it damaged")
    return found  # pyright: ignore[reportReturnType]


def of_first(numbers: list[int], most: int = 64) -> list[int]:
    """Returns the numbers of process 0, of which there are `most` at most, on every process."""
    if jax.process_count() == 1:
        return numbers
    padded = np.full(most, -1, np.int32)
    padded[: len(numbers[:most])] = numbers[:most]
    return [int(n) for n in np.asarray(multihost_utils.broadcast_one_to_all(padded)) if n >= 0]
