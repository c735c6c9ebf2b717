"""The table of a comparison: each setting's metric, its difference to the baseline, and whether that is chance."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jtransfer.comparing.held import Held
from jtransfer.comparing.outcomes import Outcome, right
from jtransfer.comparing.plan import Plan
from jtransfer.metrics import Metric, intervals, paired

LEVEL = 0.05  # below which a corrected p-value is called a difference
BETTER, SAME, WORSE, UNTESTED = "better", "no difference shown", "worse", "not tested"
MCNEMAR, RANDOMIZED = "McNemar's exact test", "randomization test"
CORRECTED, PAIRED = "corrected resampled t-test (Nadeau-Bengio)", "paired t-test over seeds"
_DRAWS, _FEW = 1000, 300  # of a mean of examples, and of a metric that is computed anew in each
_NAN = (math.nan, math.nan)
Statistic = Callable[[np.ndarray, np.ndarray], float]  # numbers of rows, places of seeds


class Row(NamedTuple):
    """A setting with one number of labels.

    Attributes:
      name: Of the setting.
      labels: How many, or 0 for all.
      runs, failed: How many runs there are, and how many of them had numbers that were not finite.
      mean, low, high: The metric and its interval.
      spread: The standard deviation over the runs.
      difference, difference_low, difference_high: The metric less that of the baseline with as many labels; nan of the
        baseline itself.
      test: The name of the test; "" of the baseline.
      p, p_holm: Its p-value, and that corrected for all differences of the table.
      verdict: "better", "no difference shown", "worse" or "not tested"; "" of the baseline.
      gained, lost: How many examples are right here and wrong with the baseline, and the other way round, by the
        predictions averaged over seeds; None where there are no classes.
      seconds: Of the runs together.
    """

    name: str
    labels: int
    runs: int
    failed: int
    mean: float
    low: float
    high: float
    spread: float
    difference: float
    difference_low: float
    difference_high: float
    test: str
    p: float
    p_holm: float
    verdict: str
    gained: int | None
    lost: int | None
    seconds: float


def rows(plan: Plan, outcomes: Sequence[Outcome], held: Held, metric: Metric) -> list[Row]:
    """Returns the rows of the table, in the order of the outcomes; the first setting is the baseline.

    Args:
      plan: The comparison.
      outcomes: Of all settings.
      held: The examples.
      metric: By which settings are compared.
    """
    baselines = {one.labels: one for one in outcomes if one.name == plan.variations[0].name}
    found = [_row(plan, one, baselines[one.labels], held) for one in outcomes]
    corrected = paired.holm([row.p for row in found])
    return [
        row._replace(p_holm=p, verdict=_verdict(row.difference, p, metric) if row.test else "")
        for row, p in zip(found, corrected, strict=True)
    ]


def _row(plan: Plan, own: Outcome, baseline: Outcome, held: Held) -> Row:
    is_baseline = own is baseline
    low, high = interval(own, held, own.of) if own.is_whole else over_runs(own.values)
    difference, between, test, p = (
        (math.nan, _NAN, "", math.nan) if is_baseline else _compared(plan, own, baseline, held)
    )
    gained, lost = (None, None) if is_baseline else _flipped(own, baseline)
    return Row(
        own.name,
        own.labels,
        own.values.size,
        int(np.isnan(own.values).sum()),
        own.mean,
        low,
        high,
        own.spread,
        difference,
        *between,
        test,
        p,
        math.nan,
        "",
        gained,
        lost,
        own.seconds,
    )


def interval(own: Outcome, held: Held, statistic: Statistic) -> tuple[float, float]:
    """Returns the bootstrap interval of a statistic, over examples, or groups of them, and over seeds.

    Args:
      own: An outcome, which tells the number of seeds and how costly the statistic is.
      held: The examples.
      statistic: A function of the numbers of rows and of the places of seeds that are drawn.
    """
    rng, seeds = np.random.default_rng(1), len(own.tables)
    units = _Units(held, len(next(iter(own.tables.values()))["index"]))
    draws = _FEW if own.per_example is None else _DRAWS

    def of(drawn: np.ndarray) -> float:
        return statistic(units(drawn), rng.integers(seeds, size=seeds))

    return intervals.bootstrap(of, units.count, draws)


class _Units:
    """The rows of examples, or of the groups that are drawn together."""

    def __init__(self, held: Held, n: int):
        groups = held.groups
        self.members = None if groups is None else [np.flatnonzero(groups == k) for k in range(groups.max() + 1)]
        self.count = n if self.members is None else len(self.members)

    def __call__(self, drawn: np.ndarray) -> np.ndarray:
        return drawn if self.members is None else np.concatenate([self.members[k] for k in drawn])


def over_runs(values: np.ndarray) -> tuple[float, float]:
    """Returns the bootstrap interval of a mean over runs; nan of one run, or where one has failed."""
    flat = values.ravel()
    if len(flat) < 2 or np.isnan(flat).any():
        return _NAN
    return intervals.bootstrap(lambda drawn: float(flat[drawn].mean()), len(flat), _DRAWS)


def _compared(plan: Plan, own: Outcome, other: Outcome, held: Held) -> tuple[float, tuple[float, float], str, float]:
    """The difference to another setting, its interval, the test and its p-value."""
    apart, whole = own.values - other.values, own.is_whole and other.is_whole
    between = interval(own, held, lambda r, s: own.of(r, s) - other.of(r, s)) if whole else over_runs(apart)
    difference = own.mean - other.mean
    if np.isnan(difference):
        return difference, between, UNTESTED, math.nan
    if plan.folds and not np.isnan(apart).any():
        return difference, between, CORRECTED, paired.corrected_t(apart.ravel(), _test_share(plan, held, own.labels))
    if whole:
        return difference, between, *_by_examples(own, other, held)
    if apart.size > 1 and not np.isnan(apart).any():
        return difference, between, PAIRED, paired.corrected_t(apart.ravel(), 0.0)
    return difference, between, UNTESTED, math.nan


def _test_share(plan: Plan, held: Held, labels: int) -> float:
    """The number of examples that a run is measured on over the number that it is trained on."""
    size, classes = len(held.whole), max(len(held.whole.class_names), 1)
    trained = (labels * (classes if plan.drawn != "random" else 1)) or size * (plan.folds - 1) / plan.folds
    return size / plan.folds / trained


def _by_examples(own: Outcome, other: Outcome, held: Held) -> tuple[str, float]:
    (first, second), one_seed = (list(one.tables.values()) for one in (other, own)), len(own.tables) == 1
    rights = right(first[0]), right(second[0])
    if one_seed and own.per_example is not None and held.groups is None and rights[0] is not None:
        assert rights[1] is not None
        return MCNEMAR, paired.mcnemar(rights[0], rights[1])
    n = len(first[0]["index"])
    units = _Units(held, n)
    groups = held.groups if held.groups is not None else np.arange(n)
    if own.per_example is not None and other.per_example is not None:
        apart = (own.per_example - other.per_example).mean(0)
        sums = np.bincount(groups, apart, units.count)
        return RANDOMIZED, paired.randomization(lambda swap: float(np.where(swap, -sums, sums).sum()), units.count)

    def difference(swap: np.ndarray) -> float:
        taken, found = swap[groups], []
        for a, b in zip(first, second, strict=True):
            mixed = [{name: _where(taken, x[name], y[name]) for name in x} for x, y in ((b, a), (a, b))]
            found.append(own.score(mixed[1], np.arange(n)) - own.score(mixed[0], np.arange(n)))
        return float(np.mean(found))

    return RANDOMIZED, paired.randomization(difference, units.count, draws=_FEW)


def _where(taken: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(taken.reshape(-1, *(1,) * (one.ndim - 1)), one, other)


def averaged(outcome: Outcome) -> np.ndarray | None:
    """Returns int [N], the classes that are predicted by the probabilities averaged over seeds; None without these."""
    tables = list(outcome.tables.values())
    if not outcome.is_whole or any(right(table) is None for table in tables):
        return None
    return np.mean([table["probs"] for table in tables], axis=0).argmax(1)


def _flipped(own: Outcome, other: Outcome) -> tuple[int | None, int | None]:
    now, before = averaged(own), averaged(other)
    if now is None or before is None:
        return None, None
    label = next(iter(own.tables.values()))["label"]
    return int(((now == label) & (before != label)).sum()), int(((now != label) & (before == label)).sum())


def _verdict(difference: float, p: float, metric: Metric) -> str:
    if np.isnan(p):
        return UNTESTED
    if p >= LEVEL or difference == 0:
        return SAME
    return BETTER if (difference < 0) == metric.less_is_better else WORSE
