"""Exact metrics over a whole split, as generators of (name, value)."""

from jtransfer.metrics.classification import (
    Calibration,
    PerClass,
    calibration,
    classification,
    confusion,
    per_class,
    softmax,
)
from jtransfer.metrics.text import language, matthews, multi_label, regression, tags, translation

__all__ = [
    "Calibration",
    "PerClass",
    "calibration",
    "classification",
    "confusion",
    "language",
    "matthews",
    "multi_label",
    "per_class",
    "regression",
    "softmax",
    "tags",
    "translation",
]
