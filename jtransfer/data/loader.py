"""Batches of a source: a pure function of the seed and the step, divided among processes, made by threads."""

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
    """A transform whose rows differ in length, such as token ids, and which stacks them into batches itself."""

    def __call__(self, example: dict, rng: np.random.Generator | None = None) -> dict:
        """Returns the row of an example."""
        ...

    def lengths(self, row: dict) -> tuple[int, int]:
        """Returns the lengths of a row: that of the input, and that of the decoder's input, or 0."""
        ...

    def collate(self, rows: Sequence[dict], size: int, lengths: Sequence[tuple[int, int]] | None) -> Batch:
        """Returns rows as one batch.

        Args:
          rows: At least one row.
          size: The number of rows of the batch; rows that are missing are filled up.
          lengths: The lengths of all rows that the batch must have room for; None means those of `rows`.
        """
        ...


@runtime_checkable
class Batching(Collating, Protocol):
    """A collating transform that makes a batch of examples in less time than of one row after the other."""

    def batch(self, examples: Sequence[dict], size: int, whole: Sequence[dict] | None = None) -> Batch:
        """Returns at least one example as the batch that `collate` makes of their rows.

        Args:
          examples: The examples.
          size: The number of rows of the batch.
          whole: All examples of the batch where other processes have parts of it; it must have room for each.
        """
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
    """Yields batches for training, endlessly and from any step on.

    Batch t of the whole run (its examples, their order, their augmentation) is a pure function of (seed, t), whatever
    `process_count`, `threads` and `start` are. An epoch may end inside a batch; no example is left out.

    Args:
      source: The examples: dicts of numbers and arrays, which have the same shapes after `transform`.
      transform: A function `(example, rng) -> row`, called from several threads, or None. The generator belongs to the
        example until the function returns. Rows of different lengths need a transform with `collate` (`Collating`).
      batch_size: The number of examples in a batch over all processes; a multiple of `process_count`.
      seed: The seed of the order and of the augmentation, 0 or more.
      start: The number of the first batch. Starting late costs nothing.
      process_index: The number of this process, which gets that contiguous slice of each batch.
      process_count: The number of processes.
      threads: The number of batches that are prepared at the same time.
      prefetch: The number of batches that are prepared ahead.
      sampling: "shuffle", each epoch has every example once; or "balanced", each class comes equally often.
      repeat: False stops after the whole batches of the first epoch.

    Yields:
      A dict of the leaves of the rows with a leading axis B = `batch_size / process_count`: `inputs`, for images uint8
        [B, H, W, C], and `label`, for classes int32 [B]; also `index` int64 [B], the numbers of the examples in the
        source, and `mask` bool [B], all True.

    Raises:
      InputError: An argument is out of range; while iterating, an example can't be read, or rows do not stack.
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
    """Yields every example of a source once, in order, with the same number of batches on each process.

    A random transform gives an example the same pixels each time.

    Args:
      source: The examples.
      transform: As for `train_batches`.
      batch_size: As for `train_batches`.
      process_index: As for `train_batches`.
      process_count: As for `train_batches`.
      threads: As for `train_batches`.
      prefetch: As for `train_batches`.

    Yields:
      Batches as those of `train_batches`. Rows of padding have `mask` False, `index` -1, and zeros elsewhere.

    Raises:
      InputError: The source is empty, or as for `train_batches`.
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
    if isinstance(transform, Batching):
        every = None if whole is None else [source[i] for i in whole.tolist()]
        batch = transform.batch([source[i] for i in indices.tolist()] or [source[0]], size, every)
    elif isinstance(transform, Collating):
        lengths = None if whole is None else [transform.lengths(transform(source[i])) for i in whole.tolist()]
        rows = [transform(source[index], rng) for index, rng in zip(indices.tolist(), rngs, strict=True)]
        batch = transform.collate(rows or [transform(source[0])], size, lengths)
    else:
        batch = _stacked(source.__getitem__, transform or (lambda example, rng: example), indices, rngs, size)
    return _marked(batch, indices, size)


def batch_of(rows: Sequence[dict], transform: Transform, size: int) -> Batch:
    """Returns rows as one batch, filled up as the last one of `eval_batches` is.

    Args:
      rows: What `transform` has made of at least one example each.
      transform: The transform that has made them, which stacks them if it is `Collating`.
      size: The number of rows of the batch, at least as many as there are.

    Raises:
      InputError: The rows do not stack.
    """
    indices = np.arange(len(rows))
    if isinstance(transform, Collating):
        return _marked(transform.collate(rows, size, None), indices, size)
    return _marked(_stacked(rows.__getitem__, lambda row, rng: row, indices, [None] * len(rows), size), indices, size)


def _marked(batch: Batch, indices: np.ndarray, size: int) -> Batch:
    """The batch with the numbers of its examples, and which of its rows are examples."""
    return {
        **batch,
        "index": np.pad(indices.astype(np.int64), (0, size - len(indices)), constant_values=-1),
        "mask": np.arange(size) < len(indices),
    }


def _stacked(
    read: Callable[[int], dict], transform: Callable[[dict, Any], dict], indices: np.ndarray, rngs: Iterable, size: int
) -> Batch:
    structure, stacked = None, []
    for row, (index, rng) in enumerate(zip(indices.tolist(), rngs, strict=True)):
        leaves, own = jax.tree.flatten(transform(read(index), rng))
        if structure is None:
            structure, stacked = own, [_empty(leaf, size) for leaf in leaves]
        _write(stacked, row, leaves, index, int(indices[0]), structure == own)
    if structure is None:
        example = transform(read(0), next(_rngs(0, np.zeros(1, np.int64))))
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
