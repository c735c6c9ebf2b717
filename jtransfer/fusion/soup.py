"""The greedy soup: models join it, the best first, as long as what decides does not fall (Wortsman et al. 2022)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jtransfer.core.tree import Tree
from jtransfer.fusion.trees import fuse


class Soup(NamedTuple):
    """A soup.

    Attributes:
      variables: Of the soup.
      members: The numbers of the models in it, in the order in which they joined it.
      scores: Of each model alone.
      score: Of the soup.
    """

    variables: dict[str, Any]
    members: list[int]
    scores: list[float]
    score: float


def greedy(
    models: Sequence[Callable[[], Tree]],
    score: Callable[[Tree], float],
    *,
    scores: Sequence[float] | None = None,
    prepare: Callable[[dict], dict] = lambda variables: variables,
) -> Soup:
    """Returns the greedy soup, an average in which each member weighs the same.

    Args:
      models: Functions that give each model's variables, of which two are held at a time.
      score: Of variables, the larger, the better; on examples that are neither trained on nor tested.
      scores: Of each model alone, where they are known.
      prepare: Of an average, before its score is taken, such as statistics of batch norms taken anew.
    """
    alone = [score(make()) for make in models] if scores is None else list(scores)
    order = sorted(range(len(models)), key=lambda number: -alone[number])
    members, best = order[:1], alone[order[0]]
    mean = prepared = dict(models[order[0]]())
    for number in order[1:]:
        joined = fuse([mean, models[number]()], weights=[len(members), 1])
        candidate = prepare(joined)
        if (found := score(candidate)) >= best:
            mean, prepared, best, members = joined, candidate, found, [*members, number]
    return Soup(prepared, members, alone, best)
