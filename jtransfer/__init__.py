"""Transfer learning for JAX: any pretrained checkpoint, one rule type, pure sharded steps.

The pieces are modules that are imported when they are first used: `from jtransfer import models, optim, step, weights`.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jtransfer import (
        attribution,
        data,
        fusion,
        generate,
        metrics,
        modalities,
        models,
        objectives,
        peft,
        probes,
        selection,
        tasks,
        weights,
    )
    from jtransfer.core import rules, sharding
    from jtransfer.modalities.text import tokenizers
    from jtransfer.runs import config
    from jtransfer.training import checkpoint, optim, state, step

_PIECES = {
    "attribution": "attribution",
    "checkpoint": "training.checkpoint",
    "config": "runs.config",
    "data": "data",
    "fusion": "fusion",
    "generate": "generate",
    "metrics": "metrics",
    "modalities": "modalities",
    "models": "models",
    "objectives": "objectives",
    "optim": "training.optim",
    "peft": "peft",
    "probes": "probes",
    "rules": "core.rules",
    "selection": "selection",
    "sharding": "core.sharding",
    "state": "training.state",
    "step": "training.step",
    "tasks": "tasks",
    "tokenizers": "modalities.text.tokenizers",
    "weights": "weights",
}

__all__ = [
    "attribution",
    "checkpoint",
    "config",
    "data",
    "fusion",
    "generate",
    "metrics",
    "modalities",
    "models",
    "objectives",
    "optim",
    "peft",
    "probes",
    "rules",
    "selection",
    "sharding",
    "state",
    "step",
    "tasks",
    "tokenizers",
    "weights",
]
__version__ = importlib.metadata.version("jtransfer")


def __getattr__(name: str) -> Any:
    if name not in _PIECES:
        raise AttributeError(f"module 'jtransfer' has no attribute {name!r}; its pieces are {', '.join(_PIECES)}")
    return importlib.import_module(f"jtransfer.{_PIECES[name]}")
