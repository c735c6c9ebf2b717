"""The order of a network's units in which its weights are nearest to another's: weight matching of Git Re-Basin
(Ainsworth et al. 2022, arXiv:2209.04836)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from jtransfer.core import tree as trees
from jtransfer.fusion.permutations import Group, Place, permuted

_ROUNDS = 100
_LEAST = 1e-9  # of a gain, by which the sum must grow, relative to itself


def match(reference: trees.Tree, variables: trees.Tree, found: Sequence[Group], *, seed: int = 0) -> list[np.ndarray]:
    """Returns the order of the units of each group, for `permutations.permute`, in which the sum of the products of all
    parameters is greatest; group after group, until no change of one makes it greater.

    Args:
      reference: The network whose order is wanted.
      variables: The other one.
      found: From `permutations.groups`.
      seed: Of the order in which groups are looked at.
    """
    ours, theirs = (trees.flatten(tree) for tree in (reference, variables))
    orders = [np.arange(group.size) for group in found]
    rng = np.random.default_rng(seed)
    for _ in range(_ROUNDS):
        grown = False
        for number in rng.permutation(len(found)):
            products = _products(ours, theirs, found, orders, number)
            before = products[np.arange(found[number].size), orders[number]].sum()
            order = linear_sum_assignment(products, maximize=True)[1]
            if products[np.arange(len(order)), order].sum() > before + _LEAST * abs(before):
                orders[number], grown = order, True
        if not grown:
            break
    return orders


def _products(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    found: Sequence[Group],
    orders: Sequence[np.ndarray],
    number: int,
) -> np.ndarray:
    """[n, n], of each unit of ours and each of theirs, the sum of the products of what they have, all other groups
    being in their present order."""
    group, total = found[number], np.zeros((found[number].size,) * 2)
    for place in group.places:
        if place.path.startswith("batch_stats/"):
            continue
        others = [_only(one, place, one is group) for one in found]
        moved = permuted({place.path: theirs[place.path]}, others, orders)[place.path]
        total += _by_unit(ours[place.path], place, group.size) @ _by_unit(moved, place, group.size).T
    return total


def _only(group: Group, place: Place, own: bool) -> Group:
    """The group with the places of one array alone, and without the place itself."""
    places = tuple(one for one in group.places if one.path == place.path and not (own and one == place))
    return group._replace(places=places)


def _by_unit(array: Any, place: Place, size: int) -> np.ndarray:
    """[n, …], what each unit has of an array."""
    array = np.moveaxis(np.asarray(array, np.result_type(array, np.float32)), place.axis, -1)
    return np.moveaxis(array.reshape(*array.shape[:-1], place.repeats, size), -1, 0).reshape(size, -1)
