"""How much a choice may cost, and how successive halving spends it (Jamieson and Talwalkar 2016, arXiv:1502.07943)."""

import re
from typing import NamedTuple

from jtransfer.core.errors import InputError

FACTOR = 3  # of the candidates of a round, one in so many goes on
_TEXT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|h|steps?|examples?)\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LEAST = 5.0  # seconds of a candidate in the first round, of which compiling takes some


class Budget(NamedTuple):
    """What a choice may cost.

    Attributes:
      amount: Seconds, or steps of training.
      unit: "seconds" or "steps".
    """

    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


def parse(text: str, batch_size: int) -> Budget:
    """Returns the budget that a text states.

    Args:
      text: "90s", "10m", "2h", "600 steps" or "20000 examples".
      batch_size: Examples of a step.

    Raises:
      InputError: It is none of these, or nothing.
    """
    found = _TEXT.fullmatch(text)
    if not found or not float(found[1]):
        raise InputError(f"budget={text!r}: give a time or a number, such as '10m', '600 steps' or '20000 examples'")
    amount, unit = float(found[1]), found[2]
    if unit in _SECONDS:
        return Budget(amount * _SECONDS[unit], "seconds")
    return Budget(amount / batch_size if unit.startswith("example") else amount, "steps")


def rounds(count: int) -> list[int]:
    """Returns how many candidates are left in each round, the first of which has all: 14 → [14, 4, 1] would end with
    one that nothing is compared with, so that the last round has two at least, 14 → [14, 5, 2]."""
    left = [count]
    while left[-1] > 2:
        left.append(max(2, -(-left[-1] // FACTOR)))
    return left


def shares(budget: Budget, count: int) -> list[float]:
    """Returns how much each candidate may cost in each round: every round costs the same.

    Args:
      budget: The whole.
      count: Candidates of the first round.

    Raises:
      InputError: That is too little for a candidate of the first round.
    """
    left = rounds(count)
    found = [budget.amount / len(left) / one for one in left]
    least = _LEAST if budget.unit == "seconds" else 1.0
    if found[0] < least:
        raise InputError(
            f"the budget, {budget}, is too small for {count} candidates in {len(left)} rounds; give at least "
            f"{least * count * len(left):g} {budget.unit}, or name fewer in config.auto.candidates"
        )
    return found
