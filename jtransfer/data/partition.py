"""Divides examples at random, by class or by group, in a way that depends on a seed and their number alone.

The random numbers are the raw ones of PCG64, which NumPy keeps the same over versions and machines.
"""

import numpy as np
from jaxtyping import Int


def random(size: int, seed: int) -> Int[np.ndarray, " N"]:
    """Returns a random place from 0 to `size` - 1 for each example; no two have the same."""
    return _ranks(np.random.PCG64(seed).random_raw(size))


def stratified(labels: Int[np.ndarray, " N"], seed: int) -> Int[np.ndarray, " N"]:
    """Returns a random place for each example, such that the classes are spread evenly over the places.

    Each run of places has each class about as often as all examples have it, to within one example at either end.

    Args:
      labels: The class of each example.
      seed: The seed of the order within a class.
    """
    within, sizes = _within(labels, seed)
    return _ranks((within + 0.5) / sizes, random(len(labels), seed))


def grouped(groups: Int[np.ndarray, " N"], seed: int) -> np.ndarray:
    """Returns a place for each example, the same for all of a group: the middle of the places that the group takes up.

    Args:
      groups: The number of the group of each example, from 0 on.
      seed: The seed of the order of the groups.

    Returns:
      float64 [N], from 0 to N.
    """
    sizes = np.bincount(groups)
    order = np.argsort(random(len(sizes), seed))
    middles = np.empty(len(sizes))
    middles[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    return middles[groups]


def per_class(labels: Int[np.ndarray, " N"], seed: int) -> Int[np.ndarray, " N"]:
    """Returns a random place for each example within its class, from 0 to the size of the class - 1.

    Args:
      labels: The class of each example.
      seed: The seed of the order within a class.
    """
    return _within(labels, seed)[0]


def random_folds(size: int, folds: int, seed: int) -> Int[np.ndarray, " N"]:
    """Returns the fold of each example, 0 to `folds` - 1; the sizes of the folds differ by one at most."""
    return random(size, seed) % folds


def stratified_folds(labels: Int[np.ndarray, " N"], folds: int, seed: int) -> Int[np.ndarray, " N"]:
    """Returns the fold of each example; neither the folds' sizes nor those of a class in them differ by more than one.

    Args:
      labels: The class of each example.
      folds: The number of folds.
      seed: The seed of the order within a class.
    """
    return _ranks(labels, random(len(labels), seed)) % folds


def grouped_folds(groups: Int[np.ndarray, " N"], folds: int, seed: int) -> Int[np.ndarray, " N"]:
    """Returns the fold of each example, the same for all of a group; the largest groups go to the emptiest folds first.

    Args:
      groups: The number of the group of each example, from 0 on.
      folds: The number of folds.
      seed: The seed that decides between groups of the same size.
    """
    sizes = np.bincount(groups)
    held, fold = np.zeros(folds, np.int64), np.empty(len(sizes), np.int64)
    for group in np.lexsort((random(len(sizes), seed), -sizes)).tolist():
        fold[group] = np.argmin(held)
        held[fold[group]] += sizes[group]
    return fold[groups]


def _within(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The random place of each example within its class, and the size of that."""
    _, number, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    return _ranks(number, random(len(labels), seed)) - starts[number], sizes[number]


def _ranks(*keys: np.ndarray) -> np.ndarray:
    """The place of each element in ascending order of the keys, the first of which counts most."""
    ranks = np.empty(len(keys[0]), np.int64)
    ranks[np.lexsort(keys[::-1])] = np.arange(len(ranks))
    return ranks
