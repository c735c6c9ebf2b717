"""The order in which training sees examples, as a pure function of the seed and the place.

A place is a number 0, 1, 2, … over all examples that training sees, epoch after epoch. Step t of a run with batch size
B takes the places t·B to (t + 1)·B - 1.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from jtransfer.core.errors import InputError

Order = Callable[[np.ndarray], np.ndarray]

_ROUNDS = 256  # rounds of the balanced order that are drawn at a time
_SHUFFLE, _CLASSES, _WITHIN = range(3)  # streams of one seed


def shuffled(num_examples: int, seed: int) -> Order:
    """Returns an order that shuffles the examples anew in each epoch.

    Args:
      num_examples: The number of examples.
      seed: The seed of the permutations.

    Returns:
      A function from places [n] to the numbers of examples [n].
    """

    @functools.lru_cache(maxsize=4)
    def epoch_order(epoch: int) -> np.ndarray:
        return _rng(seed, _SHUFFLE, epoch).permutation(num_examples)

    def order(places: np.ndarray) -> np.ndarray:
        epochs, within = np.divmod(places, num_examples)
        return _gather(epoch_order, epochs, within)

    return order


def balanced(labels: Int[np.ndarray, " N"], seed: int) -> Order:
    """Returns an order in which every class that occurs comes equally often, whatever its size.

    Where K classes occur, each K places from 0 on have each class once, in random order. The examples of a class come
    in random order, all of them once before one comes again.

    Args:
      labels: The class of each example.
      seed: The seed of the order.

    Returns:
      A function from places [n] to the numbers of examples [n].
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    num_classes = len(members)

    @functools.lru_cache(maxsize=4)
    def rounds(block: int) -> np.ndarray:
        rng = _rng(seed, _CLASSES, block)
        return rng.permuted(np.tile(np.arange(num_classes), (_ROUNDS, 1)), axis=1)

    @functools.lru_cache(maxsize=4 * num_classes)
    def class_order(which: int, epoch: int) -> np.ndarray:
        return _rng(seed, _WITHIN, which, epoch).permutation(members[which])

    def example(which: int, turn: int) -> int:
        epoch, within = divmod(turn, len(members[which]))
        return int(class_order(which, epoch)[within])

    def order(places: np.ndarray) -> np.ndarray:
        turns, slots = np.divmod(places, num_classes)
        blocks, rows = np.divmod(turns, _ROUNDS)
        classes = _gather(lambda block: rounds(block).reshape(-1), blocks, rows * num_classes + slots)
        return np.array([example(which, turn) for which, turn in zip(classes.tolist(), turns.tolist(), strict=True)])

    return order


def class_weights(labels: Int[np.ndarray, " N"], num_classes: int) -> Float[np.ndarray, " K"]:
    """Returns weights of classes by inverse frequency, so that every class has the same sum over its examples.

    Args:
      labels: The class of each example.
      num_classes: The number of classes.

    Returns:
      float32 [num_classes], whose mean over the examples is 1; 0 for a class without examples.

    Raises:
      InputError: A label is not below `num_classes`.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if len(counts) > num_classes:
        raise InputError(f"label {len(counts) - 1} is outside num_classes={num_classes}")
    occurring = np.count_nonzero(counts)
    share = len(labels) / max(occurring, 1)
    return np.divide(share, counts, out=np.zeros(num_classes), where=counts > 0).astype(np.float32)


def num_steps(num_examples: int, batch_size: int, epochs: float = 1.0) -> int:
    """Returns the fewest steps in which training sees the examples `epochs` times.

    Args:
      num_examples: The number of examples.
      batch_size: The number of examples in a batch over all processes.
      epochs: The number of epochs, which may be a fraction.

    Raises:
      InputError: `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: must be at least 1")
    return math.ceil(round(epochs * num_examples, 6) / batch_size)


def _gather(table: Callable[[int], np.ndarray], keys: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    gathered = np.empty(len(keys), np.int64)
    for key in np.unique(keys).tolist():
        chosen = keys == key
        gathered[chosen] = table(key)[offsets[chosen]]
    return gathered


def _rng(*words: int) -> np.random.Generator:
    return np.random.default_rng(words)
