"""How well each stage's features tell classes of which a few examples are known: episodes of k shots."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer import probes
from jtransfer.core.errors import InputError, unknown
from jtransfer.probes.episodes import HOW
from jtransfer.runs import extraction, probing
from jtransfer.runs.extraction import Trunk

QUERIES = 15  # of each class, or as many as it has
COUNT = 600  # episodes
WAYS = 5  # classes, or as many as there are


class Point(NamedTuple):
    """A stage with a number of shots.

    Attributes:
      stage: Its name.
      width: The number of features.
      shots: The number of examples of each class that are known.
      accuracy, interval: The mean over the episodes, with its bootstrap interval of 95 %.
    """

    stage: str
    width: int
    shots: int
    accuracy: float
    interval: tuple[float, float]


class Shots(NamedTuple):
    """What episodes say of each stage.

    Attributes:
      how: "centroid", "ridge" or "logistic".
      ways: The number of classes of an episode.
      points: A point for each stage and number of shots.
      best: The stage with the greatest mean over the numbers of shots.
      protocol: What chose it, in words.
      test: A point for each number of shots, of episodes of the test split and the chosen stage alone; none where the
        config has no test split.
    """

    how: str
    ways: int
    points: list[Point]
    best: str
    protocol: str
    test: list[Point]


def curve(
    trunk: Trunk,
    shots: Sequence[int],
    stages: Sequence[str] = (),
    how: str = "centroid",
    *,
    ways: int = 0,
    count: int = COUNT,
    l2: float = 1.0,
) -> Shots:
    """Draws episodes of the training split for each stage; those of the test split are of the best stage alone.

    An episode draws classes, `shots` examples of each that a classifier is fitted to, and up to 15 others that it is
    asked about. Features are standardised by the training split.

    Args:
      trunk: What computes the features, from `extraction.of_run` or `extraction.of_config`.
      shots: Numbers of examples of each class, positive.
      stages: Names of stages; none are all before the head.
      how: "centroid", "ridge" or "logistic".
      ways: The number of classes of an episode; 0 is 5, or all of fewer.
      count: The number of episodes.
      l2: The penalty of "ridge" and "logistic".

    Raises:
      InputError: There is no such stage or way, a number is not positive, or a class has too few examples.
    """
    if how not in HOW:
        raise unknown("way to tell classes by a few shots", how, HOW)
    if not shots or min(shots) < 1 or ways < 0 or ways == 1:
        raise InputError(f"shots={list(shots)}, ways={ways}: give shots of 1 or more, and 2 ways or more")
    wanted = probing.wanted(trunk, stages)
    found = extraction.of_each(trunk, ["train"], probing.maker(trunk, wanted))["train"]
    labels = probing.classes(next(iter(found.values())))
    ways = ways or min(WAYS, len(np.unique(labels)))
    settings = {"ways": ways, "how": how, "count": count, "l2": l2}
    points = [
        _point(stage, k, _scaled(found[stage].features, found[stage].features), labels, settings)
        for stage in wanted
        for k in shots
    ]
    best = max(wanted, key=lambda stage: sum(point.accuracy for point in points if point.stage == stage))
    test = []
    if "test" in trunk.named:
        held = extraction.of_each(trunk, ["test"], probing.maker(trunk, (best,)))["test"][best]
        features = _scaled(held.features, found[best].features)
        test = [_point(best, k, features, probing.classes(held), settings) for k in shots]
    return Shots(how, ways, points, best, f"chosen by {count} episodes of {ways} classes of the training split", test)


def _scaled(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    return (features - known.mean(0)) / (known.std(0) + 1e-5)


def _point(stage: str, shots: int, features: np.ndarray, labels: np.ndarray, settings: dict[str, Any]) -> Point:
    least = int(np.unique(labels, return_counts=True)[1].min())
    found = probes.episodes(features, labels, shots=shots, queries=max(1, min(QUERIES, least - shots)), **settings)
    return Point(stage, features.shape[1], shots, found.accuracy, found.interval)
