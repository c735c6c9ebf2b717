"""Trains on several streams of examples: their shares of each batch or of the steps, as pure functions of the step."""

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

from jtransfer.core.errors import InputError

_CYCLE = 100  # steps after which the order of alternating streams begins anew, at most


def shares(sizes: Mapping[str, int], given: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Returns the share that each stream has of the training examples; all shares sum to 1.

    Streams without a given share divide the rest in proportion to `size ** (1 / temperature)`. At temperature 1 this is
    in proportion to their sizes; the higher the temperature, the more equal the shares.

    Args:
      sizes: Stream → the number of its examples.
      given: Stream → its share, or 0 where none is given.
      temperature: The temperature, more than 0.

    Raises:
      InputError: The given shares leave nothing for the others, or all are given and do not sum to 1.

    References:
      Raffel et al., Exploring the Limits of Transfer Learning, arXiv:1910.10683, 2020, section 3.5.2.
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
    """Returns the number of examples that each stream has in a batch.

    Args:
      portions: Stream → its share.
      batch_size: The number of examples of all streams together.
      multiple: What each of the numbers must be a multiple of: the devices times the parts of gradient accumulation.

    Raises:
      InputError: The batch is too small for so many streams.
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
    """The order in which streams take turns: a cycle of steps over which each stream is spread as evenly as possible.

    Attributes:
      cycle: The stream of each step of the cycle.
      earlier: For each step of the cycle, how many turns its stream has had before in the cycle.
    """

    cycle: tuple[str, ...]
    earlier: tuple[int, ...]

    def at(self, step: int) -> tuple[str, int]:
        """Returns the stream of a step, and how many turns it had before, which is the number of its batch."""
        cycles, place = divmod(step, len(self.cycle))
        name = self.cycle[place]
        return name, cycles * self.cycle.count(name) + self.earlier[place]

    def before(self, step: int, name: str) -> int:
        """Returns how many of the first `step` steps belong to a stream."""
        cycles, place = divmod(step, len(self.cycle))
        return cycles * self.cycle.count(name) + self.cycle[:place].count(name)


def turns(portions: Mapping[str, float]) -> Turns:
    """Returns the order of streams with these shares of the steps, rounded to hundredths but at least one hundredth."""
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
    """Returns the seed of a stream's own order and augmentation, made from the seed of the run; it is below 2⁵⁶."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:7], "big")


def _apportioned(portions: Mapping[str, float], units: int) -> dict[str, int]:
    """Whole numbers in proportion to the portions that sum to `units`, by the largest remainders."""
    exact = {name: portion * units for name, portion in portions.items()}
    counts = {name: math.floor(value + 1e-9) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: units - sum(counts.values())]:
        counts[name] += 1
    return counts
