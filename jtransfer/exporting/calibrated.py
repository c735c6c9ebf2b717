"""The temperature of a run's model, as a part of the head that is exported."""

from typing import Any

import numpy as np

from jtransfer.core.show import say
from jtransfer.exporting import merging
from jtransfer.models import forward
from jtransfer.models.paths import HEAD
from jtransfer.proof import verify

_CLOSE = 1e-3  # of the largest logit
_LAYER = "dense"  # of the head, the last


def temperature(trained: Any, step: int | str | None) -> float:
    """Returns what the logits of a model are divided by; 1 with adapters that the run had not.

    Args:
      trained: an `export.Trained`.
      step: of the run, as `StoredRun.temperature` takes it.
    """
    return 1.0 if trained.run is None or trained.adapters else trained.run.temperature(step)


def left_out(trained: Any, step: int | str | None) -> list[str]:
    """Returns lines on a temperature that is not written, as adapters alone have no head that it could be a part of."""
    t = temperature(trained, step)
    return [] if t == 1 else [_by_hand(t)]


def scaled(trained: Any, merged: merging.Merged, step: int | str | None) -> dict:
    """Returns variables with which the logits are those at the temperature, and prints what was done.

    The kernel and the bias of the head's last layer are divided by it. Whether the logits are then as wanted is tried;
    where they are not, as of a head that is no linear layer, the variables stay as they are, and a line says so.

    Args:
      trained: an `export.Trained`.
      merged: its model and variables, with arrays on the host, without adapters.
      step: of the run, as `StoredRun.temperature` takes it.
    """
    t = temperature(trained, step)
    if t == 1:
        return merged.variables
    changed = _divided(merged.variables, t)
    if changed is None or not _is_divided(trained, merged, changed, t):
        say(_by_hand(t))
        return merged.variables
    say(f"the head is divided by the temperature {t:.4g}, so that its probabilities are calibrated")
    return changed


def _divided(variables: dict, t: float) -> dict | None:
    head = variables["params"].get(HEAD, {})
    layer = head.get(_LAYER) if isinstance(head, dict) else None
    if not isinstance(layer, dict) or "kernel" not in layer:
        return None
    cooled = {name: np.asarray(array) / np.asarray(t, array.dtype) for name, array in layer.items()}
    return {**variables, "params": {**variables["params"], HEAD: {**head, _LAYER: cooled}}}


def _is_divided(trained: Any, merged: merging.Merged, changed: dict, t: float) -> bool:
    inputs = verify.example(merged.model) if trained.sample is None else trained.sample
    before, after = (
        np.asarray(forward.apply(merged.model, variables, inputs)[0], np.float64)
        for variables in (merged.variables, changed)
    )
    return bool(np.abs(after * t - before).max() <= _CLOSE * max(np.abs(before).max(), 1.0))


def _by_hand(t: float) -> str:
    return f"the model's temperature is not a part of what is written: divide its logits by {t:.6g}"
