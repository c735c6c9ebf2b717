"""Evaluators: exact metrics over a whole split, as generators of (name, value)."""

from jtransfer.evals import lines
from jtransfer.evals.classification import (
    Calibration,
    PerClass,
    calibration,
    classification,
    confusion,
    per_class,
    softmax,
)
from jtransfer.evals.gather import run
from jtransfer.evals.text import language, matthews, multi_label, regression, tags, translation

__all__ = [
    "Calibration",
    "PerClass",
    "calibration",
    "classification",
    "confusion",
    "language",
    "lines",
    "matthews",
    "multi_label",
    "per_class",
    "regression",
    "run",
    "softmax",
    "tags",
    "translation",
]
