"""From the batches of a split, on all processes, to host arrays with every example once, in the order of the source."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

FILL = -1  # of rows that are shorter than the longest


def gather(step: Callable[[Any, dict], Any], variables: Any, batches: Iterable[dict]) -> dict[str, Any]:
    """What a step gives of every example of a split.

    Args:
      step: `(variables, batch) -> {name: a pytree of [B, …]}`, perhaps jitted.
      variables: what `step` takes.
      batches: dicts with `index` int `[B]`, `mask` bool `[B]`, and what `step` reads: arrays of this process, or arrays
        sharded over all processes. Every process must run the same number of batches.

    Returns:
      What `step` gives, and the batches' `label` and `index`, as pytrees of host arrays [N, …]: the same on every
      process however the batches were cut, in the order of `index`. Arrays that differ in their other dimensions from
      batch to batch, such as rows of tokens, are filled up with -1 to the largest.

    Raises:
      ValueError: there is no example.
    """
    rows = [_real(_to_host(row)) for row in _one_late(_outputs(step, variables, batches))]
    if not sum(len(row["index"]) for row in rows):
        raise ValueError("evaluation without an example: the split is empty, or all of it is padding")
    table = jax.tree.map(lambda *parts: _concatenated(parts), *rows)
    order = np.argsort(table["index"], kind="stable")
    table = jax.tree.map(lambda values: values[order], table)
    return table | {"index": table["index"].astype(np.int64)}


def _concatenated(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        largest = tuple(map(max, zip(*shapes, strict=True)))
        parts = tuple(_filled(part, largest) for part in parts)
    return np.concatenate(parts)


def _filled(part: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    widths = [(0, 0), *((0, n - m) for n, m in zip(shape, part.shape[1:], strict=True))]
    return np.pad(part, widths, constant_values=FILL)


def _outputs(step: Callable, variables: Any, batches: Iterable[dict]) -> Iterator[dict]:
    for batch in batches:
        yield {"label": batch["label"], **step(variables, batch), **{key: batch[key] for key in ("index", "mask")}}


def _one_late(rows: Iterator[dict]) -> Iterator[dict]:
    """The same rows, one late, so that the device computes a batch while the one before is read."""
    previous = None
    for row in rows:
        if previous is not None:
            yield previous
        previous = row
    if previous is not None:
        yield previous


def _to_host(row: dict) -> dict:
    if jax.process_count() > 1:
        return jax.tree.map(np.asarray, multihost_utils.process_allgather(row, tiled=True))
    return jax.tree.map(np.asarray, row)


def _real(row: dict) -> dict:
    mask = row["mask"].astype(bool)
    return jax.tree.map(lambda values: values[mask], {name: part for name, part in row.items() if name != "mask"})
