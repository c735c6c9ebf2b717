"""Batches from sources: deterministic by (seed, step), split over processes, prefetched by threads."""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import grain
import jax
import numpy as np
from absl import flags

from jtransfer.core.errors import InputError, unknown
from jtransfer.data.sampling import Order, balanced, shuffled
from jtransfer.data.source import Source

Batch = dict[str, Any]
Batches = Generator[Batch, None, None]
Transform = Callable[[dict, np.random.Generator], dict]


@runtime_checkable
class Collating(Protocol):
    """A transform whose rows differ in length, and which makes batches of them itself, as `data.text` has them."""

    def __call__(self, example: dict, rng: np.random.Generator | None = None) -> dict:
        """Returns the row of an example."""
        ...

    def lengths(self, row: dict) -> tuple[int, int]:
        """Returns how long a row's inputs are, and what a decoder gets of it."""
        ...

    def collate(self, rows: Sequence[dict], size: int, lengths: Sequence[tuple[int, int]] | None) -> Batch:
        """Returns rows as one batch of `size` rows, wide enough for all `lengths`; None means those of `rows`."""
        ...


def train_batches(
    source: Source,
    transform: Transform | None,
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    prefetch: int = 4,
    sampling: str = "shuffle",
    repeat: bool = True,
) -> Batches:
    """Training batches number `start`, `start + 1`, …; an epoch's end may fall inside a batch, and no example is lost.

    The global batch t (its examples, their order, their augmentation) is a pure function of (seed, t): the same for any
    `process_count`, `threads` and `start`. Starting anywhere costs nothing.

    Args:
      source: random access to examples: dicts of numbers and arrays, of the same shapes after `transform`.
      transform: `(example, rng) -> row`, or None; called from several threads. `rng` is the example's own until it
        returns. Rows of different lengths need a transform with `collate`, such as `data.text.TextPipeline`.
      batch_size: examples in a global batch, a multiple of `process_count`.
      seed: of the order and of the augmentation, 0 or more.
      start: the number of the first batch.
      process_index: process p gets the p-th contiguous slice of each global batch.
      process_count: the number of processes.
      threads: how many batches are made at the same time.
      prefetch: how many batches are made ahead.
      sampling: "shuffle" (each epoch every example once) or "balanced" (each class equally often).
      repeat: False stops after the whole batches of the first epoch.

    Yields:
      A dict of the row's leaves with a leading axis B = `batch_size / process_count`: `inputs`, for images uint8
      [B, H, W, C], and `label`, for classes int32 [B]; besides, `index` int64 [B], the example's number in the
      source, and `mask` bool [B], all True.

    Raises:
      InputError: a value above is out of range; later, examples that cannot be read or do not stack.
    """
    order = _order(source, seed, sampling)
    local = _local_size(batch_size, process_index, process_count)
    if len(source) < batch_size and not repeat:
        raise InputError(f"batch_size={batch_size} is more than the {len(source)} examples; choose a smaller one")
    if start < 0:
        raise InputError(f"start={start}: a batch's number is 0 or more")

    def make(step: int) -> Batch:
        first = step * batch_size + process_index * local
        places = np.arange(first, first + local, dtype=np.int64)
        whole = order(np.arange(step * batch_size, (step + 1) * batch_size)) if process_count > 1 else None
        return _assemble(source, transform, order(places), _rngs(seed, places), local, whole)

    return _prefetched(make, start, sys.maxsize if repeat else len(source) // batch_size, threads, prefetch)


def eval_batches(
    source: Source,
    transform: Transform | None,
    batch_size: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    prefetch: int = 4,
) -> Batches:
    """Every example once over all processes, in order, in the same number of batches on each process.

    Batches are as in `train_batches`; padding has `mask` False, `index` -1 and zeros elsewhere. A random transform
    gives an example the same pixels each time.
    """
    local = _local_size(batch_size, process_index, process_count)
    if not len(source):
        raise InputError("the source to evaluate on is empty")

    def make(step: int) -> Batch:
        first = step * batch_size + process_index * local
        indices = np.arange(first, max(first, min(first + local, len(source))))
        whole = np.arange(step * batch_size, min((step + 1) * batch_size, len(source))) if process_count > 1 else None
        return _assemble(source, transform, indices, _rngs(0, indices), local, whole)

    return _prefetched(make, 0, -(-len(source) // batch_size), threads, prefetch)


def _order(source: Source, seed: int, name: str) -> Order:
    if not len(source):
        raise InputError("the source to train on is empty")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed={seed}: must be 0 or more and below 2**63")
    orders = {
        "shuffle": lambda: shuffled(len(source), seed),
        "balanced": lambda: balanced(source.labels, seed),
    }
    if name not in orders:
        raise unknown("sampling", name, orders)
    return orders[name]()


def _local_size(batch_size: int, process_index: int, process_count: int) -> int:
    if not 0 <= process_index < process_count:
        raise InputError(f"process_index={process_index} is not below process_count={process_count}")
    if batch_size < 1 or batch_size % process_count:
        raise InputError(f"batch_size={batch_size}: must be a positive multiple of the {process_count} processes")
    return batch_size // process_count


def _rngs(seed: int, places: np.ndarray) -> Iterator[np.random.Generator]:
    """One generator, moved in turn to each place's own stretch of 2¹²⁸ numbers; far cheaper than one for each."""
    bits = np.random.Philox(key=seed)
    state = bits.state
    rng = np.random.Generator(bits)
    for place in places.tolist():
        state["state"]["counter"][:] = 0, 0, place, 0
        bits.state = state
        yield rng


def _assemble(
    source: Source,
    transform: Transform | None,
    indices: np.ndarray,
    rngs: Iterable[np.random.Generator],
    size: int,
    whole: np.ndarray | None,
) -> Batch:
    """The examples of `indices` as one batch, padded to `size`; a transform with `collate` says itself how.

    Where other processes have parts of the batch, `whole` are all of its examples, so that all choose one width.
    """
    if isinstance(transform, Collating):
        lengths = None if whole is None else [transform.lengths(transform(source[i])) for i in whole.tolist()]
        rows = [transform(source[index], rng) for index, rng in zip(indices.tolist(), rngs, strict=True)]
        batch = transform.collate(rows or [transform(source[0])], size, lengths)
    else:
        batch = _stacked(source, transform or (lambda example, rng: example), indices, rngs, size)
    return {
        **batch,
        "index": np.pad(indices.astype(np.int64), (0, size - len(indices)), constant_values=-1),
        "mask": np.arange(size) < len(indices),
    }


def _stacked(
    source: Source, transform: Transform, indices: np.ndarray, rngs: Iterable[np.random.Generator], size: int
) -> Batch:
    structure, stacked = None, []
    for row, (index, rng) in enumerate(zip(indices.tolist(), rngs, strict=True)):
        leaves, found = jax.tree.flatten(transform(source[index], rng))
        if structure is None:
            structure, stacked = found, [_empty(leaf, size) for leaf in leaves]
        _write(stacked, row, leaves, index, int(indices[0]), structure == found)
    if structure is None:
        example = transform(source[0], next(_rngs(0, np.zeros(1, np.int64))))
        leaves, structure = jax.tree.flatten(example)
        stacked = [_empty(leaf, size) for leaf in leaves]
    for out in stacked:
        out[len(indices) :] = 0
    return jax.tree.unflatten(structure, stacked)


def _empty(leaf: Any, size: int) -> np.ndarray:
    leaf = np.asarray(leaf)
    if leaf.dtype.kind in "OSU":
        raise InputError(f"examples hold values that are no numbers, such as {leaf!r:.60}; encode or drop them")
    narrow = {"i": np.int32, "f": np.float32}.get(leaf.dtype.kind, leaf.dtype) if leaf.ndim == 0 else leaf.dtype
    return np.empty((size, *leaf.shape), narrow)


def _write(stacked: list[np.ndarray], row: int, leaves: list, index: int, first: int, alike: bool) -> None:
    if not alike:
        raise InputError(f"examples {first} and {index} have different fields; a batch needs the same in all")
    for out, leaf in zip(stacked, leaves, strict=True):
        if np.shape(leaf) != out.shape[1:]:
            raise InputError(
                f"examples {first} and {index} have the shapes {list(out.shape[1:])} and {list(np.shape(leaf))}; "
                "a batch needs one: add resize(…) or a crop to the transform"
            )
        out[row] = leaf


def _prefetched(make: Callable[[int], Batch], start: int, stop: int, threads: int, prefetch: int) -> Batches:
    """`make(start)`, `make(start + 1)`, … ahead of use: one task a batch, as one an image costs more than it gains."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags, which only absl.app parses
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    iterator = iter(grain.MapDataset.range(min(start, stop), stop).map(make).to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()
