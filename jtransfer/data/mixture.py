"""Several streams of examples in one run: their shares of a batch or of the steps, as pure functions of the step."""

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

from jtransfer.core.errors import InputError

_CYCLE = 100  # steps after which the order of alternating streams begins anew, at most


def shares(sizes: Mapping[str, int], given: Mapping[str, float], temperature: float) -> dict[str, float]:
    """The share of each stream, all of which sum to 1.

    Shares that are not given divide the rest in proportion to `size ** (1 / temperature)`: at 1 as the sizes are, and
    the higher, the more equal (Raffel et al. 2020, arXiv:1910.10683, section 3.5.2).

    Args:
      sizes: stream → number of its examples.
      given: stream → its share, where that is known; 0 stands for unknown.
      temperature: of the others, more than 0.

    Raises:
      InputError: the given shares leave nothing for the others, or do not sum to 1 where all are given.
    """
    known = {name: share for name, share in given.items() if share}
    rest, open_ones = 1 - sum(known.values()), [name for name in sizes if name not in known]
    if temperature <= 0:
        raise InputError(f"mixing.temperature={temperature} must be more than 0")
    if (open_ones and rest <= 1e-9) or (not open_ones and abs(rest) > 1e-6):
        raise InputError(f"the shares of the streams ({known}) must sum to less than 1: the rest is the target's")
    weights = {name: sizes[name] ** (1 / temperature) for name in open_ones}
    return {name: known[name] if name in known else rest * weights[name] / sum(weights.values()) for name in sizes}


def batch_sizes(portions: Mapping[str, float], batch_size: int, multiple: int) -> dict[str, int]:
    """The number of examples of each stream in a batch.

    Args:
      portions: stream → its share.
      batch_size: of all streams together.
      multiple: of which each number is a multiple: devices times the parts of accumulation.

    Raises:
      InputError: the batch is too small for so many streams.
    """
    units = batch_size // multiple
    counts = _apportioned(portions, units)
    if batch_size % multiple or min(counts.values()) < 1:
        least = multiple * math.ceil(1 / min(portions.values()))
        raise InputError(
            f"batch_size={batch_size} can't be shared by the streams {', '.join(portions)} in parts that are multiples "
            f"of {multiple} (devices times accumulate); take at least {least}"
        )
    return {name: count * multiple for name, count in counts.items()}


class Turns(NamedTuple):
    """The order in which streams alternate: a cycle, each stream as evenly spread over it as can be.

    Attributes:
      cycle: the stream of each step of a cycle.
      earlier: for each step of a cycle, how many turns its stream has had in the cycle before it.
    """

    cycle: tuple[str, ...]
    earlier: tuple[int, ...]

    def at(self, step: int) -> tuple[str, int]:
        """The stream of a step, and how many steps it has had before: the number of its batch."""
        cycles, place = divmod(step, len(self.cycle))
        name = self.cycle[place]
        return name, cycles * self.cycle.count(name) + self.earlier[place]

    def before(self, step: int, name: str) -> int:
        """How many of the first `step` steps are a stream's."""
        cycles, place = divmod(step, len(self.cycle))
        return cycles * self.cycle.count(name) + self.cycle[:place].count(name)


def turns(portions: Mapping[str, float]) -> Turns:
    """The order of streams with these shares of the steps; shares are rounded to hundredths, at least one."""
    counts = {name: max(1, count) for name, count in _apportioned(portions, _CYCLE).items()}
    divisor = math.gcd(*counts.values())
    places = [
        ((turn + 0.5) / (count // divisor), i, name)
        for i, (name, count) in enumerate(counts.items())
        for turn in range(count // divisor)
    ]
    cycle = tuple(name for _, _, name in sorted(places))
    return Turns(cycle, tuple(cycle[:place].count(name) for place, name in enumerate(cycle)))


def seed_of(seed: int, stream: str) -> int:
    """The seed of a stream's own order and augmentation, from the run's seed; below 2⁵⁶."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:7], "big")


def _apportioned(portions: Mapping[str, float], units: int) -> dict[str, int]:
    """Whole numbers in proportion to the portions that sum to `units`, by the largest remainders."""
    exact = {name: portion * units for name, portion in portions.items()}
    counts = {name: math.floor(value + 1e-9) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: units - sum(counts.values())]:
        counts[name] += 1
    return counts
