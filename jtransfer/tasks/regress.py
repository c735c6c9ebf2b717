"""Regression: a number for each example."""

from collections.abc import Iterator, Sequence

from jtransfer import metrics
from jtransfer.tasks import answers, averages, columns, printing
from jtransfer.tasks.base import Table, Task


def _score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    return metrics.regression(table["logits"][:, 0], table["label"])


REGRESS = Task(
    "regress",
    _score,
    loss="mse",
    label_kinds=("number",),
    metric="spearman",
    head="classify",
    blank=lambda classes: 0.0,
    lines=printing.numbers,
    columns=columns.numbers,
    average=averages.numbers,
    answers=answers.numbers,
    shown=("spearman", "pearson", "mae", "loss"),
    sections=("numbers",),
)
