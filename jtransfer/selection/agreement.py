"""Scores of how a source's predictions agree with the target's labels: LEEP and NCE."""

from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.selection.arrays import classes_of, probabilities_of


def leep(source_probs: Any, labels: Any) -> float:
    """Returns the log expected empirical prediction (Nguyen et al. 2020, arXiv:2002.12462).

    It is the mean log-probability of the labels under the predictor that draws a source class by the source's
    predictions, and a target class by how often it goes with that source class. At most 0; a source that says nothing
    has minus the entropy of the labels. Source classes to which no example gives any probability do not count.

    Args:
      source_probs: What the source predicts of its own classes, `[N, Z]`.
      labels: The target's class of each example, `[N]`.

    Raises:
      InputError: They are no probabilities, no classes, or of one class only.
    """
    theta = probabilities_of(source_probs)
    classes, count = classes_of(labels, len(theta))
    joint = np.eye(count)[classes].T @ theta / len(theta)
    mass = joint.sum(0)
    conditional = joint[:, mass > 0] / mass[mass > 0]
    expected = theta[:, mass > 0] @ conditional.T
    return float(np.log(expected[np.arange(len(classes)), classes]).mean())


def nce(source_labels: Any, labels: Any) -> float:
    """Returns the negative conditional entropy of the target's labels given the source's (Tran et al. 2019,
    arXiv:1908.08142), in nats. It is `leep` of a source that is sure of its predictions.

    Args:
      source_labels: The source class of each example, `[N]`, such as the most probable one.
      labels: The target's class of each example, `[N]`.

    Raises:
      InputError: They are no classes, or the labels are of one class only.
    """
    classes, count = classes_of(labels, len(np.asarray(labels)))
    given = np.asarray(source_labels)
    if given.shape != classes.shape:
        raise InputError(f"there are source labels {list(given.shape)} of {len(classes)} examples")
    known, groups = np.unique(given, return_inverse=True)
    joint = np.bincount(groups.reshape(-1) * count + classes, minlength=len(known) * count).reshape(-1, count)
    conditional = joint / joint.sum(1, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(conditional[there])).sum() / len(classes))


def nce_of_predictions(source_probs: Any, labels: Any) -> float:
    """Returns `nce` of the most probable source classes; arguments as for `leep`."""
    return nce(probabilities_of(source_probs).argmax(1), labels)
