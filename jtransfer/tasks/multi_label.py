"""Multi-label classification: any number of classes for each example."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from jtransfer import metrics
from jtransfer.tasks import answers, averages, columns, printing
from jtransfer.tasks.base import Table, Task


def _score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    return metrics.multi_label(table["logits"], table["label"])


def _hits(logits, labels):
    return jnp.all((logits > 0) == (labels > 0.5), -1)


MULTI_LABEL = Task(
    "multi_label",
    _score,
    loss="sigmoid",
    label_kinds=("classes",),
    metric="micro_f1",
    hits=_hits,
    head="classify",
    blank=lambda classes: np.zeros(classes, np.float32),
    lines=printing.several,
    columns=columns.several,
    average=averages.several,
    answers=answers.several,
    shown=("micro_f1", "macro_f1", "accuracy", "loss"),
)
