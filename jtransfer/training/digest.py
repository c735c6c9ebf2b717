"""A checksum of a tree of arrays: of what is frozen in a phase."""

import hashlib

import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees


def digest(tree: trees.Tree) -> str:
    """A checksum of paths, shapes, dtypes and bits: the same for every sharding, and no host sees the whole tree."""
    sums = jax.device_get(_bit_sums(trees.flatten(tree)))
    leaves = trees.flatten(tree)
    text = "\n".join(f"{path} {leaf.dtype} {list(leaf.shape)} {sums[path]}" for path, leaf in sorted(leaves.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@jax.jit
def _bit_sums(flat: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """For each array the sum, modulo 2³², of its words times numbers that depend on their place: exact in any order."""

    def bits(x):
        width = jnp.dtype(f"uint{8 * x.dtype.itemsize}") if x.dtype != bool else jnp.uint8
        words = jax.lax.bitcast_convert_type(x, width) if x.dtype != bool else x
        words = words.reshape(-1).astype(jnp.uint32)
        places = jax.lax.iota(jnp.uint32, words.size) * jnp.uint32(2654435762) + jnp.uint32(1)
        return jnp.sum((words ^ (words >> 15)) * places, dtype=jnp.uint32)

    return {path: bits(x) for path, x in flat.items()}
