"""Learning curves over the number of labels, and how many labels one setting saves against another."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from jtransfer.comparing import table
from jtransfer.comparing.held import Held
from jtransfer.comparing.outcomes import Outcome
from jtransfer.comparing.plan import Plan
from jtransfer.metrics import Metric


class Saving(NamedTuple):
    """What a setting saves against the baseline.

    Attributes:
      name: Of the setting.
      labels: A number of labels of the baseline.
      level: The metric that the baseline reaches with these, by its monotone curve.
      needed, low, high: The number of labels with which the setting reaches it, and its interval. The smallest number
        of the curve means that or fewer; inf means that it does not reach it.
    """

    name: str
    labels: int
    level: float
    needed: float
    low: float
    high: float


def monotone(values: Sequence[float], *, less_is_better: bool = False) -> np.ndarray:
    """Returns the nearest curve, by squares, that never gets worse with more labels (isotonic regression)."""
    return isotonic_regression(np.asarray(values, np.float64), increasing=not less_is_better).x


def needed(level: float, sizes: Sequence[int], values: Sequence[float], *, less_is_better: bool = False) -> float:
    """Returns the number of labels at which a learning curve reaches a level.

    The curve is made monotone, and is interpolated linearly in the logarithm of the number of labels.

    Args:
      level: Of the metric.
      sizes: The numbers of labels of the curve, ascending.
      values: The metric at each.
      less_is_better: Whether a smaller value is better.

    Returns:
      The number of labels; the smallest of `sizes` where the curve begins at the level or above it, and inf where it
      does not reach it.
    """
    sign = -1 if less_is_better else 1
    curve, level = sign * monotone(values, less_is_better=less_is_better), sign * level
    reached = np.flatnonzero(curve >= level - 1e-12)
    if not len(reached):
        return math.inf
    if (i := int(reached[0])) == 0:
        return float(sizes[0])
    share = (level - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(np.exp(np.log(sizes[i - 1]) + share * (np.log(sizes[i]) - np.log(sizes[i - 1]))))


def savings(plan: Plan, outcomes: Sequence[Outcome], held: Held, metric: Metric) -> list[Saving]:
    """Returns what each setting saves against the baseline at each number of labels.

    The interval is of the bootstrap over examples and seeds, the same for both curves.

    Args:
      plan: The comparison.
      outcomes: Of all settings and numbers of labels.
      held: The examples.
      metric: By which settings are compared.
    """
    if len(plan.labels) < 2:
        return []
    by_name: dict[str, dict[int, Outcome]] = {}
    for one in outcomes:
        by_name.setdefault(one.name, {})[one.labels] = one
    baseline, *others = (by_name[one.name] for one in plan.variations)
    return [found for other in others for found in _savings(plan, baseline, other, held, metric)]


def _savings(
    plan: Plan, baseline: Mapping[int, Outcome], other: Mapping[int, Outcome], held: Held, metric: Metric
) -> list[Saving]:
    sizes, less = sorted(plan.labels), metric.less_is_better
    means = {size: (baseline[size].mean, other[size].mean) for size in sizes}
    if any(np.isnan(value) for pair in means.values() for value in pair):
        return []
    whole = all(one.is_whole for curve in (baseline, other) for one in curve.values())

    def counts(first: Sequence[float], second: Sequence[float]) -> list[float]:
        levels = monotone(first, less_is_better=less)
        return [needed(float(level), sizes, second, less_is_better=less) for level in levels]

    first, second = ([pair[i] for pair in means.values()] for i in (0, 1))
    found: list[list[float]] = []
    if whole:

        def keep(rows: np.ndarray, seeds: np.ndarray) -> float:
            found.append(counts(*([curve[n].of(rows, seeds) for n in sizes] for curve in (baseline, other))))
            return 0.0

        table.interval(baseline[sizes[0]], held, keep)
    low, high = (
        np.quantile(found, (0.025, 0.975), axis=0, method="nearest") if found else np.full((2, len(sizes)), np.nan)
    )
    levels = monotone(first, less_is_better=less).tolist()
    return [
        Saving(other[sizes[0]].name, size, level, count, float(least), float(most))
        for size, level, count, least, most in zip(sizes, levels, counts(first, second), low, high, strict=True)
    ]


def sentence(saving: Saving, baseline: str, sizes: Sequence[int], of_each: bool) -> str:
    """Returns what a setting saves, in words.

    Args:
      saving: What it saves.
      baseline: The name of the other setting.
      sizes: The numbers of labels of the curves.
      of_each: Whether labels are counted by class.
    """
    unit, least = " labels of each class" if of_each else " labels", min(sizes)
    if math.isinf(saving.needed):
        return (
            f"{saving.name} does not reach with {max(sizes)}{unit} what {baseline} reaches with {saving.labels}: "
            "it saves none"
        )
    about = f"{'at most ' if saving.needed <= least else ''}{saving.needed:.3g}"
    bounds = dict.fromkeys(_bound(bound, least) for bound in (saving.low, saving.high) if not math.isnan(bound))
    between = f" (95 %: {' to '.join(bounds)})" if bounds else ""
    saved = f"{'at least ' if saving.needed <= least else ''}{saving.labels - saving.needed:.3g}"
    more = f"it saves {saved} of {saving.labels}" if saving.needed < saving.labels else "it saves none"
    return f"{saving.name} needs {about}{unit} for what {baseline} reaches with {saving.labels}{between}: {more}"


def _bound(count: float, least: int) -> str:
    return "not reached" if math.isinf(count) else f"{count:.3g}" + (" or fewer" if count <= least else "")
