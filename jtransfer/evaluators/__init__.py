"""Evaluators: what a model is measured by during a run, each on a split and at an interval of its own.

An evaluator is a function `make(context, split, **fields) -> evaluate`, and `evaluate(variables)` gives pairs
`(name, value)`: numbers are logged, arrays [N, …] are kept as the predictions of the split. It is one file, and one
entry here; a user's is an address.
"""

from jtransfer.core.registry import Registry
from jtransfer.evaluators.base import Context, Evaluate, Stream
from jtransfer.evaluators.gather import gather

EVALUATORS = Registry(
    "evaluator",
    {
        "split": "jtransfer.evaluators.split:make",
        "label_free": "jtransfer.evaluators.label_free:make",
        "generation": "jtransfer.evaluators.generation:make",
        "tasks": "jtransfer.evaluators.tasks:make",
        "calibration": "jtransfer.evaluators.calibration:make",
        "thresholds": "jtransfer.evaluators.thresholds:make",
        "selective": "jtransfer.evaluators.selective:make",
        "corruption": "jtransfer.evaluators.corruption:make",
        "shifted": "jtransfer.evaluators.shifted:make",
        "groups": "jtransfer.evaluators.groups:make",
        "intervals": "jtransfer.evaluators.intervals:make",
    },
)

__all__ = ["EVALUATORS", "Context", "Evaluate", "Stream", "gather"]
