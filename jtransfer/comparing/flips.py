"""Which examples one setting has right and the other wrong."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.comparing.held import Held
from jtransfer.comparing.outcomes import Outcome
from jtransfer.comparing.plan import Plan
from jtransfer.comparing.table import averaged

GAINED, LOST = "gained", "lost"
_SAID = 300  # characters of a text
Show = Callable[[dict], dict[str, Any]]


class Flip(NamedTuple):
    """One example that two settings tell differently, one of them right.

    Attributes:
      name: Of the setting that is compared with the baseline.
      labels: How many labels it was trained on, or 0 for all.
      what: "gained", it is right here and wrong with the baseline, or "lost".
      index: The example's number among those compared on.
      true, baseline, predicted: The names of the classes.
      text: What there is to read of the example, or "".
    """

    name: str
    labels: int
    what: str
    index: int
    true: str
    baseline: str
    predicted: str
    text: str


def flips(plan: Plan, outcomes: Sequence[Outcome], held: Held, show: Show) -> list[Flip]:
    """Returns the flips of all settings against the first, by the predictions averaged over seeds.

    Args:
      plan: The comparison.
      outcomes: Of all settings.
      held: The examples.
      show: A function from an example to what can be shown of it, `Modality.show`.
    """
    baselines = {one.labels: averaged(one) for one in outcomes if one.name == plan.variations[0].name}
    text = _reader(held, show)
    found: list[Flip] = []
    for one in outcomes:
        now, before = averaged(one), baselines[one.labels]
        if now is None or before is None or one.name == plan.variations[0].name:
            continue
        label = next(iter(one.tables.values()))["label"]
        for i in np.flatnonzero((now != before) & ((now == label) | (before == label))).tolist():
            what = GAINED if now[i] == label[i] else LOST
            true, baseline, predicted = (_named(held, values[i]) for values in (label, before, now))
            found.append(Flip(one.name, one.labels, what, i, true, baseline, predicted, text(i)))
    return found


def _named(held: Held, number: Any) -> str:
    names = held.whole.class_names
    return str(names[number]) if number < len(names) else str(number)


def _reader(held: Held, show: Show) -> Callable[[int], str]:
    """What there is to read of an example; of pictures nothing, and none is opened."""
    known: dict[int, str] = {}
    if not show(held.whole[0]).get("text"):
        return lambda index: ""

    def text(index: int) -> str:
        if index not in known:
            known[index] = " ".join(str(show(held.whole[index]).get("text") or "").split())[:_SAID]
        return known[index]

    return text
