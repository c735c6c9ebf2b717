"""The scores of all sources, with intervals and ranks."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.metrics import intervals
from jtransfer.ranking.features import Made
from jtransfer.selection import scores

DRAWS = 50  # of the bootstrap
WIDTH = 64  # features that a draw looks at: the directions in which the features are greatest


class Cell(NamedTuple):
    """A score of a source: its value, the interval of 95 %, and its rank among the sources, 1 for the greatest."""

    value: float
    low: float
    high: float
    rank: int = 0


Table = dict[str, dict[str, Cell | None]]  # source → score → cell; None where the source has no such score


def chosen(names: Sequence[str], label_kind: str) -> list[str]:
    """Returns the names of the scores that are computed, checked; no names are all that there are for such labels.

    Raises:
      InputError: There is no such score, it is not for such labels, or none is for them.
    """
    usual = scores.usual(label_kind)
    if label_kind not in ("class", "number", "classes"):
        raise InputError(f"scores are of classes or numbers, and the labels are of the kind {label_kind!r}")
    for name in names:
        scores.needs(name)
        if name in scores.SCORES and name not in usual:
            raise InputError(f"score {name!r} is of classes, and the labels are of the kind {label_kind!r}")
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise InputError(f"score {twice[0]!r} is named twice")
    return list(names or usual)


def of(made: Mapping[str, Made], labels: np.ndarray, names: Sequence[str]) -> Table:
    """Returns the scores of sources.

    Args:
      made: Source → what it makes of the examples.
      labels: Of the examples.
      names: Of the scores.

    Raises:
      InputError: A score can't be computed of a source, which the text names.
    """
    cells = {source: {name: _cell(source, one, labels, name) for name in names} for source, one in made.items()}
    for name in names:
        values = [cell.value for row in cells.values() if (cell := row[name])]
        for row in cells.values():
            if cell := row[name]:
                row[name] = cell._replace(rank=1 + sum(value > cell.value for value in values))
    return cells


def order(table: Table) -> dict[str, float]:
    """Returns source → its mean rank, the best first, over the scores that all sources have.

    Raises:
      InputError: There is no such score.
    """
    common = [name for name in next(iter(table.values())) if all(row[name] for row in table.values())]
    if not common:
        raise InputError("no score is one of all sources; give --scores that need features alone, as logme")
    ranks = {source: float(np.mean([row[name].rank for name in common])) for source, row in table.items()}  # pyright: ignore
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def _cell(source: str, one: Made, labels: np.ndarray, name: str) -> Cell | None:
    needed = scores.needs(name)
    if "source_probs" in needed and one.probs is None:
        return None
    given = {"features": one.features, "labels": labels, "source_probs": one.probs}
    whole = {key: array for key, array in given.items() if array is not None}
    try:
        value = scores.compute(name, whole)
    except InputError as error:
        raise InputError(f"source {source}: {name}: {error}") from None
    if value.ndim:
        low, high = intervals.bootstrap(lambda rows: value[rows].mean(), len(labels), DRAWS)
        return Cell(float(value.mean()), low, high)
    few = whole | ({"features": _narrow(one.features)} if "features" in needed else {})
    return Cell(float(value), *_interval(float(value), functools.partial(_drawn, name, few), len(labels)))


def _drawn(name: str, given: Mapping[str, np.ndarray], rows: np.ndarray) -> float:
    try:
        return float(scores.compute(name, {key: array[rows] for key, array in given.items()}))
    except InputError:
        return float("nan")  # of a draw that lacks a class


def _interval(value: float, statistic: functools.partial, size: int) -> tuple[float, float]:
    """The bootstrap's interval, moved by what examples that are drawn twice add to the score."""
    seen: list[float] = []

    def noted(rows: np.ndarray) -> float:
        seen.append(statistic(rows))
        return seen[-1]

    low, high = intervals.bootstrap(noted, size, DRAWS)
    middle = np.nanmean(seen) if np.isfinite(seen).any() else np.nan
    return float(value + low - middle), float(value + high - middle)


def _narrow(features: np.ndarray) -> np.ndarray:
    """Features in the `WIDTH` directions in which they are greatest, or as they are if they are no wider."""
    if features.shape[1] <= WIDTH:
        return features
    u, s, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    return u[:, :WIDTH] * s[:WIDTH]
