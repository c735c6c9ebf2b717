"""How far a long command is, on standard error: a line every few seconds."""

import sys
import time
from collections.abc import Callable

from jtransfer.core.show import say

FIRST, EVERY = 3.0, 10.0  # seconds


def reporter(total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> Callable[[int], None]:
    """Returns a function of the number of examples that are done, which says so every few seconds.

    Args:
      total: The number of all examples.
      done: The number of those that were done before.
      clock: The time in seconds.
    """
    begun, due = clock(), [clock() + FIRST]

    def report(now_done: int) -> None:
        now = clock()
        if now < due[0] or now_done >= total:
            return
        due[0] = now + EVERY
        rate = (now_done - done) / max(now - begun, 1e-9)
        left = (total - now_done) / max(rate, 1e-9)
        say(f"{now_done:,} of {total:,} examples, {rate:,.1f} a second, {_time(left)} left", file=sys.stderr)

    return report


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    return f"{minutes} min" if minutes < 60 else f"{hours} h"
