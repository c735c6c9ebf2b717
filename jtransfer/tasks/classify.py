"""Classification: one class for each example."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp

from jtransfer import metrics
from jtransfer.tasks import printing
from jtransfer.tasks.base import Table, Task


def _score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    logits, labels = table["logits"], table["label"]
    yield from metrics.classification(logits, labels)
    yield "matthews", metrics.matthews(logits.argmax(1), labels, logits.shape[1])


def _probabilities(table: Table) -> Table:
    rest = {name: array for name, array in table.items() if name != "logits"}
    return rest | {"probs": metrics.softmax(table["logits"])}


def _hits(logits, labels):
    return jnp.argmax(logits, -1) == labels


CLASSIFY = Task(
    "classify",
    _score,
    finish=_probabilities,
    metric="accuracy",
    hits=_hits,
    head="classify",
    lines=printing.classes,
    shown=("accuracy", "macro_f1", "loss", "ece"),
    sections=("classes",),
)
