"""Which example stands at which place of an endless order: pure functions of the seed and the place.

A place is a number 0, 1, 2, … over all examples that training sees, epoch after epoch; step t of a run with the global
batch size B takes the places t·B to (t + 1)·B - 1.
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
    """An order in which each run of `num_examples` places from 0 on is a permutation of its own of all examples."""

    @functools.lru_cache(maxsize=4)
    def epoch_order(epoch: int) -> np.ndarray:
        return _rng(seed, _SHUFFLE, epoch).permutation(num_examples)

    def order(places: np.ndarray) -> np.ndarray:
        epochs, within = np.divmod(places, num_examples)
        return _gather(epoch_order, epochs, within)

    return order


def balanced(labels: Int[np.ndarray, " N"], seed: int) -> Order:
    """An order in which every class that occurs comes equally often, whatever its size.

    Each run of K places from 0 on (K classes occur) holds each class once, in random order; a class's examples come in
    random order, all of them once before one comes again.
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
    """float32 [K], proportional to 1 / a class's frequency, with mean 1 over the examples; 0 for a class without any.

    Every class that occurs then has the same sum of weights over its examples.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if len(counts) > num_classes:
        raise InputError(f"label {len(counts) - 1} is outside num_classes={num_classes}")
    occurring = np.count_nonzero(counts)
    share = len(labels) / max(occurring, 1)
    return np.divide(share, counts, out=np.zeros(num_classes), where=counts > 0).astype(np.float32)


def num_steps(num_examples: int, batch_size: int, epochs: float = 1.0) -> int:
    """The fewest steps that show `epochs` times `num_examples` examples; `batch_size` is the global one."""
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: must be at least 1")
    return math.ceil(round(epochs * num_examples, 6) / batch_size)


def _gather(table: Callable[[int], np.ndarray], keys: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    found = np.empty(len(keys), np.int64)
    for key in np.unique(keys).tolist():
        chosen = keys == key
        found[chosen] = table(key)[offsets[chosen]]
    return found


def _rng(*words: int) -> np.random.Generator:
    return np.random.default_rng(words)
