"""Transfer learning for JAX: any pretrained checkpoint, one rule type, pure sharded steps.

The pieces are modules that are imported when they are first used: `from jtransfer import models, optim, step, weights`,
or `import jtransfer` and then `jtransfer.models`. So are all other modules, such as `jtransfer.predict`.
"""

import importlib
import importlib.util
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jtransfer import (
        attribution,
        data,
        evaluators,
        fusion,
        generate,
        metrics,
        modalities,
        models,
        objectives,
        peft,
        predict,
        probes,
        runs,
        selection,
        tasks,
        train,
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
    "evaluators": "evaluators",
    "fusion": "fusion",
    "generate": "generate",
    "metrics": "metrics",
    "modalities": "modalities",
    "models": "models",
    "objectives": "objectives",
    "optim": "training.optim",
    "peft": "peft",
    "predict": "predict",
    "probes": "probes",
    "rules": "core.rules",
    "runs": "runs",
    "selection": "selection",
    "sharding": "core.sharding",
    "state": "training.state",
    "step": "training.step",
    "tasks": "tasks",
    "tokenizers": "modalities.text.tokenizers",
    "train": "train",
    "weights": "weights",
}

__all__ = [
    "attribution",
    "checkpoint",
    "config",
    "data",
    "evaluators",
    "fusion",
    "generate",
    "metrics",
    "modalities",
    "models",
    "objectives",
    "optim",
    "peft",
    "predict",
    "probes",
    "rules",
    "runs",
    "selection",
    "sharding",
    "state",
    "step",
    "tasks",
    "tokenizers",
    "train",
    "weights",
]
__version__ = "0.1.0"

# A Python that was started in this folder would take the modules here for its own, as `inspect`.
sys.path[:] = [place for place in sys.path if os.path.abspath(place) != os.path.abspath(__path__[0])]


def __getattr__(name: str) -> Any:
    if name not in _PIECES and (name[0] == "_" or importlib.util.find_spec(f"jtransfer.{name}") is None):
        raise AttributeError(f"module 'jtransfer' has no attribute {name!r}; its pieces are {', '.join(_PIECES)}")
    return importlib.import_module(f"jtransfer.{_PIECES.get(name, name)}")


def __dir__() -> list[str]:
    modules = (found.name for found in pkgutil.iter_modules(__path__))
    return sorted({*globals(), *_PIECES, *(name for name in modules if name[0] != "_")})
