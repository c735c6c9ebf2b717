"""Which axes of a network's arrays may be permuted together, without any change of what it computes.

The units of a layer have no order: those of its kernel, its bias, its norm and the next kernel may be permuted alike.
Which axes belong together is found by tracing the network, so that no family is known here. An operation that is not
known here fixes the order of what it is given, so that what is found is right for any network, and is all there is for
perceptrons and for convolutional ones, residual ones and those with depthwise convolutions included.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer.core import tree as trees
from jtransfer.fusion import axes
from jtransfer.fusion.axes import Axis


class Place(NamedTuple):
    """An axis of one array.

    Attributes:
      path: Of the array.
      axis: Of it.
      repeats: How often the units repeat along the axis, the whole set each time, as where a feature map is flattened.
    """

    path: str
    axis: int
    repeats: int = 1


class Group(NamedTuple):
    """Axes whose units are permuted alike.

    Attributes:
      size: The number of units.
      places: The axes.
    """

    size: int
    places: tuple[Place, ...]


def groups(apply: Callable[[Any, Any], Any], variables: trees.Tree, x: Any) -> list[Group]:
    """Returns the groups of axes that may be permuted.

    Args:
      apply: A function from variables and an input to the output, which is traced.
      variables: Of the network; arrays, or their shapes and dtypes.
      x: The input, likewise.
    """
    flat = trees.flatten(variables)
    closed = jax.make_jaxpr(lambda flat, x: apply(trees.unflatten(flat), x))(flat, x)
    given = [[Axis(size) for size in leaf.aval.shape] for leaf in closed.jaxpr.invars]
    names = sorted(flat)  # the order of a dict's leaves
    for each in given[len(names) :]:
        axes.fix(*each)
    for each in axes.run(closed.jaxpr, closed.consts, given):
        axes.fix(*each)
    found: dict[int, tuple[Axis, list[Place]]] = {}
    for name, each in zip(names, given, strict=False):
        for number, axis in enumerate(each):
            root, repeats = axes.units(axis)
            if root.size > 1 and not axes.is_fixed(axis):
                found.setdefault(id(root), (root, []))[1].append(Place(name, number, repeats))
    return [Group(root.size, tuple(places)) for root, places in found.values()]


def permute(variables: trees.Tree, found: Sequence[Group], orders: Sequence[np.ndarray]) -> dict[str, Any]:
    """Returns variables with their units in another order.

    Args:
      variables: Of the network.
      found: From `groups`.
      orders: Of each group, the number of the old unit that stands at each place.
    """
    return trees.unflatten(permuted(trees.flatten(variables), found, orders))


def permuted(flat: Mapping[str, Any], found: Sequence[Group], orders: Sequence[np.ndarray]) -> dict[str, Any]:
    """Returns what `permute` does, of and as a dict by path."""
    moved = {path: np.asarray(leaf) for path, leaf in flat.items()}
    for group, order in zip(found, orders, strict=True):
        for place in group.places:
            starts = np.arange(place.repeats)[:, None] * group.size
            moved[place.path] = np.take(moved[place.path], (starts + order).reshape(-1), place.axis)
    return moved
