"""Requests that come at the same time share a batch, which one thread computes beside the event loop."""

import asyncio
import collections
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Full(Exception):
    """There is no room for another example."""


class Batcher:
    """Gathers items into batches.

    A batch is computed when it is full, when it has waited `max_wait`, or at once if nobody else is here to join it.
    While one is computed, the next one gathers.

    Attributes:
      held: The number of examples that are here: read, waiting or computed.
      waiting: The items that wait for a batch, each with the future of its result.
    """

    def __init__(
        self,
        compute: Callable[[list], Sequence[Any]],
        *,
        max_batch: int,
        max_wait: float,
        max_queue: int,
        record: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        """A batcher, which computes while `run` runs.

        Args:
          compute: A function from the items of a batch to their results; an exception as a result is raised.
          max_batch: The largest number of items of a batch.
          max_wait: Seconds that the first item of a batch waits for others.
          max_queue: The largest number of examples that are here at once.
          record: Called with the size of each batch and the seconds that it took.
        """
        self._compute, self._most, self._max_wait, self._max_queue = compute, max_batch, max_wait, max_queue
        self._record = record
        self.held, self.waiting = 0, collections.deque()
        self._arrived = asyncio.Event()  # or left

    @contextlib.contextmanager
    def room(self, count: int) -> Iterator[None]:
        """A context in which there is room for some more examples.

        Raises:
          Full: There is none.
        """
        if self.held + count > self._max_queue:
            raise Full
        self.held += count
        try:
            yield
        finally:
            self.held -= count
            self._arrived.set()

    async def results(self, items: Sequence[Any]) -> list[Any]:
        """Returns the results of items, in order."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in items]
        self.waiting.extend(zip(items, futures, strict=True))
        self._arrived.set()
        return await asyncio.gather(*futures)

    async def run(self) -> None:
        """Computes batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "jtransfer-model") as thread:
            while True:
                batch = await self._gathered()
                if batch:
                    began = loop.time()
                    found = await loop.run_in_executor(thread, self._compute, [item for item, _ in batch])
                    self._record(len(batch), loop.time() - began)
                    _tell(batch, found)

    async def _gathered(self) -> list[tuple[Any, asyncio.Future]]:
        loop = asyncio.get_running_loop()
        while not self.waiting:
            await self._news(None)
        until = loop.time() + self._max_wait
        while len(self.waiting) < min(self._most, self.held) and (left := until - loop.time()) > 0:
            await self._news(left)
        taken = [self.waiting.popleft() for _ in range(min(self._most, len(self.waiting)))]
        return [(item, future) for item, future in taken if not future.done()]

    async def _news(self, seconds: float | None) -> None:
        self._arrived.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), seconds)


def _tell(batch: list[tuple[Any, asyncio.Future]], found: Sequence[Any]) -> None:
    for (_, future), result in zip(batch, found, strict=True):
        if future.done():  # whoever asked has gone
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
