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
    finish: Callable[[dict], tuple[dict, float | None]] | None = None,
) -> Soup:
    """Returns the greedy soup, an average in which each member weighs the same.

    Args:
      models: Functions that give each model's variables, of which two are held at a time.
      score: Of variables, the larger, the better; on examples that are neither trained on nor tested.
      scores: Of each model alone, where they are known.
      finish: A function from an average to the same as it is to be used, such as with statistics of batch norms that
        were taken anew, and its score, or None.
    """
    alone = [score(make()) for make in models] if scores is None else list(scores)
    order = sorted(range(len(models)), key=lambda number: -alone[number])
    members, best = order[:1], alone[order[0]]
    mean = finished = dict(models[order[0]]())
    for number in order[1:]:
        joined = fuse([mean, models[number]()], weights=[len(members), 1])
        candidate, found = finish(joined) if finish else (joined, None)
        found = score(candidate) if found is None else found
        if found >= best:
            mean, finished, best, members = joined, candidate, found, [*members, number]
    return Soup(finished, members, alone, best)
