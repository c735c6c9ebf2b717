"""From the batches of a split, on all processes, to one table of predictions with every example once."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jtransfer.metrics.classification import classification, softmax

Row = dict[str, np.ndarray]
Score = Callable[[Row], Iterable[tuple[str, float]]]


def run(
    eval_step: Callable, variables: dict, batches: Iterable[dict], score: Score | None = None
) -> tuple[dict[str, float], Row]:
    """Evaluates a model on every example of a split.

    Args:
      eval_step: `(variables, batch) -> {name: [B, …]}`: what is kept of each example, such as its logits [B, C].
      variables: what `eval_step` takes.
      batches: dicts with `index` int `[B]`, `mask` bool `[B]`, `label` and what `eval_step` reads: arrays of this
        process, or arrays sharded over all processes. Every process must run the same number of batches.
      score: `table -> (name, value)…`; default `classification` of `logits` and `label`.

    Returns:
      The scalars, and the table of what was kept, with `label` and `index` int64 `[N]`, the same on every process
      however the batches were cut, in the order of `index`. With classes, `probs` float32 `[N, C]` stands for the
      logits. Rows of tokens are filled up with -1 to the longest.

    Raises:
      ValueError: there is no example.
    """
    rows = [_real(_to_host(row)) for row in _behind(_outputs(eval_step, variables, batches))]
    if not sum(len(row["index"]) for row in rows):
        raise ValueError("evaluation without an example: the split is empty, or all of it is padding")
    table = {name: _concatenated([row[name] for row in rows]) for name in rows[0]}
    order = np.argsort(table["index"], kind="stable")
    table = {name: values[order] for name, values in table.items()}
    table["index"] = table["index"].astype(np.int64)
    scalars = dict(classification(table["logits"], table["label"]) if score is None else score(table))
    if "logits" in table and table["label"].dtype.kind == "i":
        table["probs"] = softmax(table.pop("logits"))
    return scalars, table


def _concatenated(parts: list[np.ndarray]) -> np.ndarray:
    """The parts one after the other; of tokens, each as wide as the widest."""
    if len({part.shape[1:] for part in parts}) > 1:
        widest = max(part.shape[1] for part in parts)
        parts = [np.pad(part, ((0, 0), (0, widest - part.shape[1])), constant_values=-1) for part in parts]
    return np.concatenate(parts)


def _outputs(eval_step, variables, batches) -> Iterator[Row]:
    for batch in batches:
        yield {"label": batch["label"], **eval_step(variables, batch), **{k: batch[k] for k in ("index", "mask")}}


def _behind(rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows, one late, so that the device computes a batch while the one before is read."""
    previous = None
    for row in rows:
        if previous is not None:
            yield previous
        previous = row
    if previous is not None:
        yield previous


def _to_host(row: Row) -> Row:
    if jax.process_count() > 1:
        return jax.tree.map(np.asarray, multihost_utils.process_allgather(row, tiled=True))
    return jax.tree.map(np.asarray, row)


def _real(row: Row) -> Row:
    mask = row["mask"].astype(bool)
    return {name: values[mask] for name, values in row.items() if name != "mask"}
