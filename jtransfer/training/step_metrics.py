"""The metrics of the last steps: looked at one step late, so that the device never waits, and averaged for the log."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer.core.errors import Diverged


class StepMetrics:
    """Collects each step's metrics and stops the run at the first that is not finite.

    Args:
      phase: the name of the phase, for messages.
      held: what `held` returned when the run was saved, so that the next means are those of all steps.
    """

    def __init__(self, phase: str, held: Mapping[str, Sequence] | None = None):
        self._phase = phase
        self._pending: tuple[int, Any, Mapping[str, Any]] | None = None
        self._sums: dict[str, tuple[float, int]] = {
            name: (total, count) for name, (total, count) in (held or {}).items()
        }

    def push(self, step: int, batch: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Takes the metrics of a step, still on the device, and looks at those of the step before.

        Raises:
          Diverged: one is not finite; the text names the step and the examples of its batch.
        """
        self.flush()
        self._pending = (step, _indices(batch), metrics)

    def flush(self) -> None:
        """Looks at the metrics that are still on the device; raises as `push` does."""
        if self._pending is None:
            return
        (step, examples, metrics), self._pending = self._pending, None
        for name, value in jax.device_get(metrics).items():
            if not np.isfinite(value):
                raise Diverged(
                    f"{name} is {value} at step {step} of phase {self._phase!r}, on the batch of examples "
                    f"{_listed(examples)}; lower optim.lr, set optim.clip, or look at those examples"
                )
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + float(value), count + 1

    def means(self) -> dict[str, float]:
        """The means since the last call."""
        self.flush()
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return means

    def held(self) -> dict[str, tuple[float, int]]:
        """The sums since the last means, and of how many steps they are."""
        self.flush()
        return dict(self._sums)


def _indices(batch: Mapping[str, Any]) -> Any:
    """The numbers of a batch's examples, or stream → those of its examples."""
    return batch["index"] if "index" in batch else {name: part["index"] for name, part in batch.items()}


def _listed(indices: Any) -> str:
    if isinstance(indices, Mapping):
        return "; ".join(f"{name} {_listed(part)}" for name, part in indices.items())
    return ", ".join(map(str, indices.tolist()))
