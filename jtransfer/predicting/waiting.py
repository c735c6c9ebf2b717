"""Lines that come one by one, in batches of those that wait."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

_END = object()


def batches(lines: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yields lines without their ends, as soon as there is one, with those that have come meanwhile; none is empty.

    Args:
      lines: The lines, such as a file that is open. A thread reads them.
      most: The number of lines of a batch, at most.

    Raises:
      Exception: What reading the lines raises.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=4 * most)

    def read() -> None:
        try:
            for line in lines:
                if text := line.rstrip("\r\n"):
                    waiting.put(text)
            waiting.put(_END)
        except Exception as error:
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        some = [waiting.get()]
        while len(some) < most and some[-1] is not _END and not isinstance(some[-1], Exception):
            try:
                some.append(waiting.get_nowait())
            except queue.Empty:
                break
        last = some[-1]
        ended = last is _END or isinstance(last, Exception)
        if found := some[: len(some) - ended]:
            yield found
        if isinstance(last, Exception):
            raise last
        if ended:
            return
