"""Probes: how well features tell classes, as pure functions on arrays.

Each fits a whole grid of settings at once. Which of them is best is chosen on examples that nothing is reported of.
"""

from jtransfer.probes.episodes import Episodes, episodes
from jtransfer.probes.knn import knn
from jtransfer.probes.linear import accuracies
from jtransfer.probes.logistic import Logistic, logistic
from jtransfer.probes.ridge import Ridge, ridge
from jtransfer.probes.sgd import Trained, sgd

__all__ = [
    "Episodes",
    "Logistic",
    "Ridge",
    "Trained",
    "accuracies",
    "episodes",
    "knn",
    "logistic",
    "ridge",
    "sgd",
]
