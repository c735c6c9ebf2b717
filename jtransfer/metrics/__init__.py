"""Metrics: what is known of each by name, and exact values over a whole split as generators of (name, value)."""

from jtransfer.metrics.classification import (
    Calibration,
    PerClass,
    by_row,
    calibration,
    classification,
    confusion,
    of_rows,
    pairs,
    per_class,
    softmax,
)
from jtransfer.metrics.declared import NUMBER, PERCENT, SCORE, SHARE, Metric, get, load
from jtransfer.metrics.text import language, matthews, multi_label, regression, tags, translation

__all__ = [
    "NUMBER",
    "PERCENT",
    "SCORE",
    "SHARE",
    "Calibration",
    "Metric",
    "PerClass",
    "by_row",
    "calibration",
    "classification",
    "confusion",
    "get",
    "language",
    "load",
    "matthews",
    "multi_label",
    "of_rows",
    "pairs",
    "per_class",
    "regression",
    "softmax",
    "tags",
    "translation",
]
