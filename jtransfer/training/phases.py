"""A phase = steps + what is trained. LP-FT and gradual unfreezing are lists of phases."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.data import num_steps
from jtransfer.training import optim


class Phase(NamedTuple):
    """One phase, resolved against a model.

    Attributes:
      name: unique in the run.
      steps: its length.
      trainable: bools over the paths of the variables that may be trained: `{"params": …}`, and "aux" where there is.
      trained_since: of the same paths, the phase since which each leaf is trained without a break.
      trained_later: bools: the leaf is trained in this phase or a later one.
      optim: the whole optimizer config.
      cache: compute the frozen prefix once.
      statistics: the stream of whose examples batch norms have their statistics when it begins; "" leaves them.
    """

    name: str
    steps: int
    trainable: dict
    trained_since: dict
    trained_later: dict
    optim: dict
    cache: bool
    statistics: str = ""


def plan(config: Any, variables: trees.Tree, stages: Sequence[str], examples: int) -> list[Phase]:
    """The phases of a complete config.

    Args:
      config: with `phases`, `optim`, `batch_size`.
      variables: the collections of variables that may be trained, or their shapes.
      stages: the model's stage names, in order.
      examples: of the training split, for lengths in epochs.

    Raises:
      InputError: a rule matches nothing, or a phase trains nothing.
    """
    masks = [rules.trainable(phase.trainable, variables, stages) for phase in config.phases]
    for phase, mask in zip(config.phases, masks, strict=True):
        if not any(trees.flatten(mask).values()):
            raise InputError(f"phase {phase.name}: trainable={phase.trainable!r} trains nothing")
    return [
        Phase(
            name=phase.name,
            steps=phase.steps or (num_steps(examples, config.batch_size, phase.epochs) if phase.epochs else 0),
            trainable=mask,
            trained_since=since,
            trained_later=_any(masks[i:]),
            optim={**config.optim.to_dict(), **phase.optim.to_dict()},
            cache=phase.cache,
            statistics=phase.statistics,
        )
        for i, (phase, mask, since) in enumerate(zip(config.phases, masks, optim.trained_since(masks), strict=True))
    ]


def _any(masks: Sequence[trees.Tree]) -> dict:
    flat = [trees.flatten(mask) for mask in masks]
    return trees.map_with_path(lambda path, _: any(mask[path] for mask in flat), masks[0])
