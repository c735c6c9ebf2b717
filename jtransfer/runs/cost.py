"""What a phase costs: where the time of its steps goes, told by clocks that no step waits for, and its memory."""

import contextlib
import queue
import resource
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import jax

from jtransfer.runs.tracing import Trace

NAMES = ("data_wait_ms", "device_ms", "host_ms")


class StepClock:
    """Measures the steps of a run, as a context manager.

    A thread waits for what each step returns, so that the time of the device is known and the loop does not wait.

    Args:
      trace: The trace that some of the steps are to be in.
    """

    def __init__(self, trace: Trace):
        self._trace = trace
        self._waited, self._started, self._compiles = 0.0, None, True
        self._of_host: list[tuple[float, float]] = []  # (waiting for a batch, all else that the loop does) of a step
        self._of_device: list[float] = []
        self._begun: queue.Queue[Any] = queue.Queue()

    def restart(self) -> None:
        """Says that a phase begins, the first step of which compiles."""
        self._compiles = True

    def batch(self, batches: Iterator[Any]) -> Any:
        """Returns the next batch, and measures how long it is waited for."""
        with self._waiting():
            return next(batches)

    def ahead(self, batches: Any) -> None:
        """Puts the batch of the next step on the devices (`batches.Ahead`), and measures how long it is waited for."""
        with self._waiting():
            batches.fetch()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        begun = monotonic()
        yield
        self._waited += monotonic() - begun

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """A context in which step `number`, from 1 on, is started (`started`)."""
        self._trace.before(number)
        begun = monotonic()
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield
        self._of_host.append((self._waited, monotonic() - begun))
        self._waited = 0.0
        self._begun.put((begun, self._started))
        self._trace.after(number, self._started)

    def started(self, outputs: tuple[Any, Any]) -> tuple[Any, Any]:
        """Returns what a step has returned, the state and its metrics, and watches when the metrics are there."""
        self._started = outputs[1]
        return outputs

    def means(self) -> dict[str, float]:
        """Returns the means over the steps since the last call, in milliseconds. They overlap, as the host works ahead.

        Returns:
          `data_wait_ms`, how long the loop waits for a batch and puts it on the devices; `device_ms`, from the start of
          a step, or the end of the one before if that is later, to its end; `host_ms`, in which the loop starts the
          step. The first step of a phase, which compiles, is left out if there are others.
        """
        self._begun.join()
        rows = [(wait, device, host) for (wait, host), device in zip(self._of_host, self._of_device, strict=True)]
        rows = rows[1:] if self._compiles and len(rows) > 1 else rows
        self._compiles = self._compiles and not rows
        self._of_host.clear()
        self._of_device.clear()
        return {name: 1000 * sum(row[i] for row in rows) / len(rows) for i, name in enumerate(NAMES) if rows}

    def __enter__(self) -> "StepClock":
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._begun.put(None)
        self._trace.close()

    def _watch(self) -> None:
        free = 0.0  # since when the device has nothing to do
        while (item := self._begun.get()) is not None:
            begun, metrics = item
            with contextlib.suppress(Exception):  # the loop meets it, too
                jax.block_until_ready(metrics)
            ended = monotonic()
            self._of_device.append(ended - max(begun, free))
            free = ended
            self._begun.task_done()


def memory() -> dict[str, float]:
    """Peak resident memory of this process and, where the device tells, of the first device; MiB."""
    found = {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["device_memory_mb"] = stats["peak_bytes_in_use"] / 2**20
    return found
