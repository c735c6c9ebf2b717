"""SHA-256 digests of tensors. With several processes, each computes a part of them and all have them in the end."""

import hashlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from jtransfer.weights.streaming import mapped

BLOCK = 4 << 20  # bytes that are hashed at once


def digest(array: np.ndarray) -> str:
    """Returns the SHA-256 of an array's dtype, shape and bytes, in hexadecimal."""
    state = hashlib.sha256(f"{array.dtype.name} {list(array.shape)}\n".encode())
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, flat.size, BLOCK):
        state.update(flat[start : start + BLOCK].data)
        if flat.size > BLOCK:
            mapped.release(array)
    return state.hexdigest()


def combine(digests: Mapping[str, str]) -> str:
    """Returns the one digest, "sha256:…", of tensors with these names and digests."""
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def is_own(number: int) -> bool:
    """Returns whether this process is the one that computes the digests of part `number` of a checkpoint."""
    return number % jax.process_count() == jax.process_index()


def gather(own: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Returns the digests of all tensors by name, of which each process computed some. Every process must call it.

    Args:
      own: the digests that this process computed; no other process has the same names.
      names: the names of all tensors, in the same order on each process.
    """
    if jax.process_count() == 1:
        return dict(own)
    rows = np.array([list(bytes.fromhex(own.get(name, "00" * 32))) for name in names], np.uint8).reshape(-1, 32)
    everywhere = np.bitwise_or.reduce(multihost_utils.process_allgather(rows, tiled=False), axis=0)
    return {name: row.tobytes().hex() for name, row in zip(names, everywhere, strict=True)}
