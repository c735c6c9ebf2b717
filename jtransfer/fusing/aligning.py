"""Models whose units are put in the order of those of the first, as Git Re-Basin does."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.fusing.source import Source, in_memory, variables_of
from jtransfer.fusion import matching, permutations
from jtransfer.fusion.permutations import Group
from jtransfer.layers.cpu import dispatch
from jtransfer.models import forward
from jtransfer.weights.shapes import example


def groups_of(model: Any, variables: Any, sample: Any = None) -> list[Group]:
    """Returns the groups of axes of a model that may be permuted together.

    Args:
      model: The Linen module.
      variables: Its variables, or their shapes.
      sample: An input; by default `model.example_input(1)`.
    """
    x = example(model) if sample is None else sample
    with dispatch.platform("any"):  # whose routes are the plain ones
        return permutations.groups(lambda variables, x: forward.apply(model, variables, x)[0], variables, x)


def aligned(models: Sequence[Source], seed: int = 0) -> list[Source]:
    """Returns the models, all but the first with their units in the order that is nearest to it.

    Raises:
      InputError: Nothing of the model may be permuted.
    """
    first, *others = models
    reference = variables_of(first.leaves)
    found = groups_of(first.spec.model, reference, first.sample)
    if not found:
        raise InputError(f"align: the order of all units of a {type(first.spec.model).__name__} is fixed; leave it out")
    made = [first]
    for other in others:
        variables = variables_of(other.leaves)
        orders = matching.match(reference, variables, found, seed=seed)
        moved = sum(int((order != np.arange(len(order))).sum()) for order in orders)
        say(f"{other.name}: {moved} of {sum(group.size for group in found)} units are in another order now")
        made.append(other._replace(leaves=in_memory(permutations.permute(variables, found, orders))))
    return made
