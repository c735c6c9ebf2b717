"""What a comparison has found, in words."""

import math
from typing import NamedTuple

from jtransfer.comparing import curves
from jtransfer.comparing.curves import Saving
from jtransfer.comparing.flips import Flip
from jtransfer.comparing.held import Held
from jtransfer.comparing.plan import Plan
from jtransfer.comparing.table import CORRECTED, PAIRED, Row
from jtransfer.comparing.winner import Tested
from jtransfer.metrics import PERCENT, SHARE, Metric

_FEW = 5  # runs


class Found(NamedTuple):
    """What a comparison has found; each part is that of a module."""

    plan: Plan
    metric: Metric
    held: Held
    rows: list[Row]
    savings: list[Saving]
    flips: list[Flip]
    tested: Tested


def protocol(plan: Plan) -> list[str]:
    """Returns lines on what was compared on what, and what chose what."""
    seeds = f"{plan.seeds} seed{'s' * (plan.seeds > 1)}"
    if plan.folds:
        how = f"grouped by {plan.group}" if plan.group else plan.drawn
        on = f"on the part of {plan.config['data']['train']!r} that each of {plan.folds} folds ({how}) leaves out"
    else:
        on = f"on the validation split {plan.config['data']['validation']!r}, which also chose each run's checkpoint"
        on = on if plan.config["model_selection"] != "last" else on.partition(", which")[0]
    return [
        f"Compared {on}; {seeds}. Intervals of 95 %: bootstrap over examples{' and seeds' * (plan.seeds > 1)}, paired. "
        f"p-values are corrected for their number (Holm).",
        "The test split was read by the winner alone, after it was chosen.",
    ]


def lines(found: Found) -> list[str]:
    """Returns the table and what follows from it, as lines of text."""
    plan, rows, metric = found.plan, found.rows, found.metric
    first = plan.variations[0].name
    width = max(8, *(len(row.name) for row in rows))
    heads = f"{'setting':<{width}}  {'labels  ' if plan.labels else ''}{metric.title} [95 %]          spread"
    made = [heads + (f"   difference to {first} [95 %]   p (Holm)  verdict" if len(plan.variations) > 1 else "")]
    for row in rows:
        label = f"{row.labels:<8}" if plan.labels else ""
        text = f"{row.name:<{width}}  {label}{written(row.mean, metric)} [{written(row.low, metric)}, "
        text += f"{written(row.high, metric)}]  ± {written(row.spread, metric)}"
        if row.verdict:
            text += f"   {signed(row.difference, metric)} [{signed(row.difference_low, metric)}, "
            text += f"{signed(row.difference_high, metric)}]   {p_text(row.p_holm)}  {row.verdict}"
            text += "" if row.gained is None else f" (gains {row.gained}, loses {row.lost} examples)"
        made.append(text + (f"   {row.failed} of {row.runs} runs diverged" if row.failed else ""))
    tests = dict.fromkeys(row.test for row in rows if row.test)
    made += [f"Tests against {first}: {', '.join(tests)}."] if tests else []
    if rows[0].runs < _FEW and {CORRECTED, PAIRED} & tests.keys():
        made.append(f"A t-test of {rows[0].runs} runs shows very large differences only; give more --seeds.")
    made += protocol(plan)
    made += [saving_line(found, one) for one in found.savings if one.labels == max(plan.labels)]
    return [*made, test_line(found)]


def saving_line(found: Found, saving: Saving) -> str:
    """Returns what a setting saves, in words."""
    plan = found.plan
    return curves.sentence(saving, plan.variations[0].name, plan.labels, plan.drawn != "random")


def test_line(found: Found) -> str:
    """Returns the winner and what its runs say of the test split, in words."""
    tested, metric = found.tested, found.metric
    value, runs = written(tested.mean, metric), len(tested.values)
    between = "" if math.isnan(tested.low) else f" [{written(tested.low, metric)}, {written(tested.high, metric)}]"
    spread = "" if math.isnan(tested.spread) else f", ± {written(tested.spread, metric)} over {runs} runs"
    labels = f" with {tested.labels} labels" if tested.labels else ""
    again = (
        "" if tested.looks == 1 else f"; this comparison has read it {tested.looks} times, with other winners before"
    )
    return (
        f"Winner: {tested.winner}{labels}; test {metric.title} {value}{between}{spread}, of {tested.examples} examples "
        f"of {tested.split!r}{again}."
    )


def written(value: float, metric: Metric) -> str:
    """Returns a value of a metric as it is written."""
    if math.isnan(value):
        return "–"
    return {SHARE: f"{100 * value:.1f} %", PERCENT: f"{value:.1f}"}.get(metric.kind, f"{value:.3f}")


def signed(value: float, metric: Metric) -> str:
    """Returns a difference of a metric as it is written; of shares in percentage points."""
    if math.isnan(value):
        return "–"
    return {SHARE: f"{100 * value:+.1f}", PERCENT: f"{value:+.1f}"}.get(metric.kind, f"{value:+.3f}")


def p_text(p: float) -> str:
    """Returns a p-value as it is written."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
