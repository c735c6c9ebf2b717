"""Classification: one class for each example."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp

from jtransfer import metrics
from jtransfer.tasks import answers, averages, columns, printing
from jtransfer.tasks.base import Table, Task


def _score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    rows, labels = (table if "rank" in table else _by_row(table)), table["label"]
    yield from metrics.of_rows(rows, labels)
    yield "matthews", metrics.matthews(rows["predicted"], labels, int(rows["classes"][0]))


def _by_row(table: Table) -> Table:
    return metrics.by_row(table["logits"], table["label"])


def _probabilities(table: Table) -> Table:
    rest = {name: array for name, array in table.items() if name != "logits"}
    return rest | {"probs": metrics.softmax(table["logits"])}


def _hits(logits, labels):
    return jnp.argmax(logits, -1) == labels


CLASSIFY = Task(
    "classify",
    _score,
    by_row=_by_row,
    finish=_probabilities,
    metric="accuracy",
    hits=_hits,
    head="classify",
    lines=printing.classes,
    columns=columns.classes,
    average=averages.classes,
    answers=answers.classes,
    shown=("accuracy", "macro_f1", "loss", "ece"),
    sections=("classes",),
)
