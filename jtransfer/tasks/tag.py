"""Tagging: a class for each word of a text, or for each part of a sequence."""

from collections.abc import Iterator, Sequence
from itertools import chain

import jax.numpy as jnp

from jtransfer import metrics
from jtransfer.tasks import answers, columns, printing
from jtransfer.tasks.base import Table, Task
from jtransfer.tasks.tokens import hits, keep_sums


def _keep(logits, labels):
    return keep_sums(logits, labels) | {"predicted": jnp.argmax(logits, -1), "label": labels}


def _score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    loss = ("loss", float(table["loss"].sum() / max(table["tokens"].sum(), 1)))
    return chain([loss], metrics.tags(list(table["predicted"]), list(table["label"]), names))


TAG = Task(
    "tag",
    _score,
    label_kinds=("tags",),
    form="tokens",
    keep=_keep,
    metric="macro_f1",
    hits=hits,
    by_token=True,
    head="tag",
    lines=printing.tags,
    columns=columns.tags,
    answers=answers.tags,
    shown=("entity_f1", "macro_f1", "accuracy", "loss"),
)
