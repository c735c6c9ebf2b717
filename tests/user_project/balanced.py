"""A metric: the mean of the shares of each class that are right."""

import numpy as np

from jtransfer.metrics import SHARE, Metric


def _compute(table, names):
    predicted = table["logits"][:, 0] > 0
    return np.mean([(predicted == label)[table["label"] == label].mean() for label in range(len(names))])


BALANCED = Metric("balanced_accuracy", "balanced accuracy", SHARE, compute=_compute)
