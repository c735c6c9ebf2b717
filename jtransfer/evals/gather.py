"""From the batches of a split, on all processes, to one table of predictions with every example once."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jtransfer.evals.classification import classification, softmax

Row = dict[str, np.ndarray]


def run(eval_step: Callable, variables: dict, batches: Iterable[dict]) -> tuple[dict[str, float], Row]:
    """Evaluates a model on every example of a split.

    Args:
      eval_step: `(variables, batch) -> {"logits": [B, C], …}`.
      variables: what `eval_step` takes.
      batches: dicts with `label` int `[B]`, `index` int `[B]`, `mask` bool `[B]` and what `eval_step` reads: arrays of
        this process, or arrays sharded over all processes. Every process must run the same number of batches.

    Returns:
      The scalars of `classification`, and the predictions, the same on every process however the batches were cut:
      `probs` float32 `[N, C]`, `label` int32 `[N]`, `index` int64 `[N]`, in the order of `index`.

    Raises:
      ValueError: there is no example.
    """
    rows = [_real(_to_host(row)) for row in _behind(_outputs(eval_step, variables, batches))]
    if not sum(len(row["index"]) for row in rows):
        raise ValueError("evaluation without an example: the split is empty, or all of it is padding")
    table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    order = np.argsort(table["index"], kind="stable")
    logits, label = table["logits"][order], table["label"][order].astype(np.int32)
    scalars = dict(classification(logits, label))
    return scalars, {"probs": softmax(logits), "label": label, "index": table["index"][order].astype(np.int64)}


def _outputs(eval_step, variables, batches) -> Iterator[Row]:
    for batch in batches:
        yield {"logits": eval_step(variables, batch)["logits"], **{k: batch[k] for k in ("label", "index", "mask")}}


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
