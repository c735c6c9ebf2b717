"""How well a source suits a target, told by its features or its predictions of the target's examples, without training.

    selection.logme(features, labels)  # float64 on the host; the greater, the better

All are functions of what a source makes of N labelled examples of the target: `features`, `[N, D]`, which its network
gives before the head, or `source_probs`, `[N, Z]`, its predictions of its own classes.
"""

from jtransfer.selection.accuracies import knn_accuracy, linear_probe_accuracy
from jtransfer.selection.agreement import leep, nce
from jtransfer.selection.evidence import logme
from jtransfer.selection.scores import SCORES
from jtransfer.selection.separation import gbc, h_score, regularized_h_score, transrate

__all__ = [
    "SCORES",
    "gbc",
    "h_score",
    "knn_accuracy",
    "leep",
    "linear_probe_accuracy",
    "logme",
    "nce",
    "regularized_h_score",
    "transrate",
]
