"""A task: is the second class there? One logit, a hinge loss, and how often its sign is right."""

import jax.numpy as jnp
import numpy as np

from jtransfer.tasks import Task


def hinge(logits, labels):
    """max(0, 1 - y·logit) for each example, y = ±1."""
    return jnp.maximum(0.0, 1.0 - (2.0 * labels - 1.0) * logits[:, 0])


def _score(table, names):
    predicted = table["logits"][:, 0] > 0
    yield "accuracy", float((predicted == table["label"]).mean())
    yield "loss", float(np.maximum(0, 1 - (2.0 * table["label"] - 1) * table["logits"][:, 0]).mean())


def _lines(given, table, names):
    return (f"{name}  {names[int(logit > 0)]}" for name, logit in zip(given, table["logits"][:, 0], strict=True))


DETECT = Task(
    "detect",
    _score,
    loss=f"{__file__}:hinge",
    metric="accuracy",
    hits=lambda logits, labels: (logits[:, 0] > 0) == (labels > 0),
    lines=_lines,
    shown=("accuracy", "loss"),
)
