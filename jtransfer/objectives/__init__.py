"""What is minimised: a sum of terms, the first of which is the loss of the task; and the losses of tasks by name."""

from jtransfer.objectives.contrastive import contrastive
from jtransfer.objectives.losses import (
    LOSSES,
    Loss,
    as_sums,
    counted,
    create,
    focal,
    mean,
    mean_of,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from jtransfer.objectives.regression import huber, mse
from jtransfer.objectives.sums import Mean
from jtransfer.objectives.term import TARGET, Context, Source, Stream, Survey, Teacher, Term, View, Wanted
from jtransfer.objectives.terms import TERMS, Objective, make

__all__ = [
    "LOSSES",
    "TARGET",
    "TERMS",
    "Context",
    "Loss",
    "Mean",
    "Objective",
    "Source",
    "Stream",
    "Survey",
    "Teacher",
    "Term",
    "View",
    "Wanted",
    "as_sums",
    "contrastive",
    "counted",
    "create",
    "focal",
    "huber",
    "make",
    "mean",
    "mean_of",
    "mse",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]
