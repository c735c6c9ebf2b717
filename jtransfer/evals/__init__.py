"""Evaluators: exact metrics over a whole split, as generators of (name, value)."""

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

__all__ = ["Calibration", "PerClass", "calibration", "classification", "confusion", "per_class", "run", "softmax"]
