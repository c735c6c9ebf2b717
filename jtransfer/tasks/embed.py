"""Embedding: examples that belong together get vectors that are near each other."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jtransfer import metrics
from jtransfer.tasks import answers, averages, columns, printing
from jtransfer.tasks.base import Table, Task


def _paired(embeddings):
    """[2·B, d] → [B, 2, d]."""
    return embeddings.reshape(-1, 2, embeddings.shape[-1])


def _keep(embeddings, labels):
    return {"embeddings": _paired(embeddings), "label": labels}


def _wrap(loss: Callable) -> Callable:
    return lambda embeddings, labels, mask: loss(_paired(embeddings), labels, mask)


def _score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """How often an example's partner is the nearest of all; where labels say how alike they are, the correlation."""
    a, b = (
        x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in np.moveaxis(table["embeddings"], 1, 0)
    )
    nearest = [(a[i : i + 1024] @ b.T).argmax(1) for i in range(0, len(a), 1024)]
    yield "retrieval", float((np.concatenate(nearest) == np.arange(len(a))).mean())
    if table["label"].dtype.kind == "f" and table["label"].ndim == 1:
        correlations = metrics.regression((a * b).sum(1), table["label"])
        yield from ((name, value) for name, value in correlations if name in ("pearson", "spearman"))


EMBED = Task(
    "embed",
    _score,
    loss="contrastive",
    label_kinds=(),
    form="pair",
    keep=_keep,
    metric="retrieval",
    head="embed",
    lines=printing.neighbours,
    columns=columns.embeddings,
    average=averages.numbers,
    answers=answers.embeddings,
    shown=("retrieval", "spearman"),
    wrap=_wrap,
)
