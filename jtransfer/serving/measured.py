"""What a server counts and measures, as Prometheus reads it."""

import bisect
import collections
from collections.abc import Iterator, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """How often values lie up to each of some bounds, their number and their sum."""

    def __init__(self, bounds: Sequence[float]):
        self.bounds, self._counts, self._sum = tuple(bounds), [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect.bisect_left(self.bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self._counts)

    def lines(self, name: str) -> Iterator[str]:
        """Yields the lines of the histogram."""
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.9g}"
        yield f"{name}_count {total}"


class Measured:
    """The counts and times of a server.

    Attributes:
      requests: Requests to predict, by the status that they were answered with.
      examples: Examples that were predicted.
      seconds: Seconds from a request's first byte to its answer.
      batches: Examples in a batch.
      model: Seconds that the model took for a batch.
    """

    def __init__(self, sizes: Sequence[int]):
        """Nothing is counted yet.

        Args:
          sizes: The sizes of batches.
        """
        self.requests: collections.Counter[int] = collections.Counter()
        self.examples = 0
        self.seconds, self.batches, self.model = Histogram(SECONDS), Histogram(sizes), Histogram(SECONDS)

    def batch(self, size: int, seconds: float) -> None:
        """Counts a batch."""
        self.batches.add(size)
        self.model.add(seconds)
        self.examples += size

    def text(self, held: int, waiting: int, compiled: int) -> str:
        """Returns all of it in Prometheus' text format.

        Args:
          held: Examples that are here.
          waiting: Examples that wait for a batch.
          compiled: Programs that were compiled.
        """
        return "\n".join([*self._lines(held, waiting, compiled), ""])

    def _lines(self, held: int, waiting: int, compiled: int) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests to predict, by status")
        for code, count in sorted(self.requests.items()):
            yield f'jtransfer_requests_total{{code="{code}"}} {count}'
        yield from _head("errors_total", "counter", "Requests to predict that were not answered with 200")
        yield f"jtransfer_errors_total {self.requests.total() - self.requests[200]}"
        for name, kind, what, value in (
            ("examples_total", "counter", "Examples that were predicted", self.examples),
            ("compilations_total", "counter", "Programs that were compiled", compiled),
            ("held_examples", "gauge", "Examples that are read, wait or are computed", held),
            ("queued_examples", "gauge", "Examples that wait for a batch", waiting),
        ):
            yield from _head(name, kind, what)
            yield f"jtransfer_{name} {value}"
        for name, what, histogram in (
            ("request_seconds", "From a request to its answer", self.seconds),
            ("batch_size", "Examples in a batch", self.batches),
            ("model_seconds", "The model's time for a batch", self.model),
        ):
            yield from _head(name, "histogram", what)
            yield from histogram.lines(f"jtransfer_{name}")


def _head(name: str, kind: str, what: str) -> Iterator[str]:
    yield f"# HELP jtransfer_{name} {what}."
    yield f"# TYPE jtransfer_{name} {kind}"
