"""Checksums of arrays: of what a checkpoint saves, and of what is frozen in a phase.

The checksum of an array is a sum over its words, so it is the same however the array is cut over devices and processes,
and each process computes it from what it holds. It is computed on the host: nothing is compiled for it.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jtransfer.core import tree as trees

_BLOCK = 1 << 15  # words at a time, which stay in the processor's cache
_THREADS = 4
_Sum = Callable[[np.ndarray, np.ndarray], tuple[int, int]]  # words, places -> two sums


def digest(tree: trees.Tree) -> str:
    """Returns one checksum of a tree: of the paths, shapes, dtypes and bits of its arrays."""
    return combine(digests(trees.flatten(tree)))


def combine(found: Mapping[str, str]) -> str:
    """Returns the one checksum of arrays with these paths and checksums."""
    text = "".join(f"{path} {found[path]}\n" for path in sorted(found))
    return f"2:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def digests(flat: Mapping[str, Any]) -> dict[str, str]:
    """Returns the checksum of each array, such as "float32[3,4] 0123456789abcdef".

    A change of up to 32 bits in one word always changes it; any other change does but for one in 2⁶⁴. With arrays that
    lie on several processes, each process must call it.

    Args:
      flat: path → array; NumPy's, JAX's or a lazy tensor, of which several processes read every n-th.
    """
    found = _sums(flat, _mixed)
    return {path: _text(_form(leaf), found[path]) for path, leaf in flat.items()}


class Held(NamedTuple):
    """What this process holds of an array, on the host.

    Attributes:
      form: Dtype and shape, such as "float32[3,4]".
      shape: Of the whole array.
      parts: Host arrays and where in the whole array they lie; each part is held once among all processes.
      shared: Whether other processes hold parts of it.
    """

    form: str
    shape: tuple[int, ...]
    parts: list[tuple[np.ndarray, tuple[slice, ...]]]
    shared: bool


def held(flat: Mapping[str, Any]) -> dict[str, Held]:
    """Returns what this process holds of each array; it stays what it is if the arrays are donated afterwards."""
    return {path: Held(_form(leaf), leaf.shape, _parts(leaf), _is_shared(leaf)) for path, leaf in flat.items()}


def sums(own: Mapping[str, Held]) -> list[tuple[int, int]]:
    """Returns two numbers for each array, of which `of_sums` makes checksums; any thread may call this."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda one: _sum(one.parts, one.shape, _mixed), own.values()))


def of_sums(own: Mapping[str, Held], of_all: Sequence[Sequence[Sequence[int]]]) -> dict[str, str]:
    """Returns the checksum of each array, as `digests` does.

    Args:
      own: What this process holds.
      of_all: What `sums` gave on each process.
    """
    shared = any(one.shared for one in own.values())
    total = np.array(of_all if shared else of_all[:1], np.uint32).reshape(-1, len(own), 2).sum(0, dtype=np.uint32)
    return {path: _text(one.form, pair) for (path, one), pair in zip(own.items(), total.tolist(), strict=True)}


def matches(flat: Mapping[str, Any], stated: str) -> bool:
    """Returns whether the arrays have a checksum that `digest` gave, in this version or in an earlier one."""
    if stated.startswith("2:"):
        return combine(digests(flat)) == stated
    found = _sums(flat, _weighted)
    text = "\n".join(f"{path} {flat[path].dtype} {list(flat[path].shape)} {found[path][0]}" for path in sorted(flat))
    return hashlib.sha256(text.encode()).hexdigest()[:32] == stated


def is_of_nothing(stated: str) -> bool:
    """Returns whether a checksum is that of a tree without arrays."""
    return matches({}, stated)


def _text(form: str, pair: Sequence[int]) -> str:
    return f"{form} {pair[0]:08x}{pair[1]:08x}"


def _form(leaf: Any) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _sums(flat: Mapping[str, Any], kind: _Sum) -> dict[str, tuple[int, int]]:
    """Path → the sums, modulo 2³², over what all processes hold of an array."""
    lazy = any(hasattr(leaf, "fetch") for leaf in flat.values())
    shared = jax.process_count() > 1 and (lazy or any(_is_shared(leaf) for leaf in flat.values()))
    own = [not (shared and lazy) or i % jax.process_count() == jax.process_index() for i in range(len(flat))]
    with ThreadPoolExecutor(_THREADS) as pool:
        jobs = [pool.submit(_summed, leaf, kind) for leaf, mine in zip(flat.values(), own, strict=True) if mine]
    failed = next((error for job in jobs if (error := job.exception())), None)
    found = np.zeros((len(flat) + 1, 2), np.uint32)
    found[-1] = failed is not None
    if failed is None:
        found[:-1][own] = np.array([job.result() for job in jobs], np.uint32).reshape(-1, 2)
    if shared:
        found = np.asarray(multihost_utils.process_allgather(found)).sum(0, dtype=np.uint32)
    if failed or found[-1].any():
        raise failed or ValueError("another process can't read it")
    return {path: (int(one), int(two)) for path, (one, two) in zip(flat, found[:-1], strict=True)}


def _is_shared(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not leaf.is_fully_addressable


def _parts(leaf: Any) -> list[tuple[np.ndarray, tuple[slice, ...]]]:
    """What this process holds of an array, each part once among all processes."""
    if isinstance(leaf, jax.Array):
        return [(np.asarray(s.data), s.index) for s in leaf.addressable_shards if s.replica_id == 0]
    return [(np.asarray(leaf.read() if hasattr(leaf, "fetch") else leaf), ())]


def _summed(leaf: Any, kind: _Sum) -> tuple[int, int]:
    return _sum(_parts(leaf), leaf.shape, kind)


def _sum(parts: list[tuple[np.ndarray, tuple[slice, ...]]], shape: tuple[int, ...], kind: _Sum) -> tuple[int, int]:
    """The sums over parts of an array."""
    totals = [0, 0]
    for words, places in itertools.chain.from_iterable(_blocks(part, index, shape) for part, index in parts):
        totals = [total + more for total, more in zip(totals, kind(words, places), strict=True)]
    return totals[0] % 2**32, totals[1] % 2**32


def _blocks(part: np.ndarray, index: tuple[slice, ...], shape: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    """The words, uint32 [r, n], of a part of an array, and their places, uint32 [r, n], in the whole array."""
    words = _words(part)
    whole = (*shape, words.shape[-1])
    starts = [part.start or 0 for part in index] + [0] * (len(whole) - len(index))
    cut = max((i for i, n in enumerate(whole) if words.shape[i] != n), default=0)
    strides = [math.prod(whole[i + 1 :]) for i in range(len(whole))]
    rows = np.zeros(1, np.uint64)
    for n, stride in zip(words.shape[:cut], strides[:cut], strict=True):
        rows = (rows[:, None] + np.arange(n, dtype=np.uint64) * np.uint64(stride)).reshape(-1)
    rows = (rows + np.uint64(np.dot(starts, strides))).astype(np.uint32)
    words = words.reshape(len(rows), -1)
    tall = max(1, _BLOCK // max(words.shape[1], 1))
    for top in range(0, len(rows), tall):
        for left in range(0, words.shape[1], _BLOCK):
            block = words[top : top + tall, left : left + _BLOCK].astype(np.uint32)
            columns = np.arange(left, left + block.shape[1], dtype=np.uint64).astype(np.uint32)
            yield block, rows[top : top + tall, None] + columns


def _words(array: np.ndarray) -> np.ndarray:
    """The bits of an array [...] as unsigned numbers [..., k] of at most 32 bits."""
    array = np.ascontiguousarray(array).reshape(*array.shape, 1)
    return array.view(np.uint32 if array.dtype.itemsize > 2 else f"u{array.dtype.itemsize}")


def _mixed(words: np.ndarray, places: np.ndarray) -> tuple[int, int]:
    """Each word is mixed with its place, then, as MurmurHash3 does it, with itself, which is invertible."""
    mixed = _murmur(words ^ _murmur(places + np.uint32(0x9E3779B9)))
    again = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    again ^= again >> np.uint32(12)
    return int(mixed.sum(dtype=np.uint64)), int(again.sum(dtype=np.uint64))


def _murmur(words: np.ndarray) -> np.ndarray:
    words = words ^ (words >> np.uint32(16))
    words *= np.uint32(0x85EBCA6B)
    words ^= words >> np.uint32(13)
    words *= np.uint32(0xC2B2AE35)
    words ^= words >> np.uint32(16)
    return words


def _weighted(words: np.ndarray, places: np.ndarray) -> tuple[int, int]:
    """What earlier versions summed."""
    weights = places * np.uint32(2654435762) + np.uint32(1)
    return int(((words ^ (words >> np.uint32(15))) * weights).sum(dtype=np.uint64)), 0
