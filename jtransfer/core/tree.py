"""Trees of parameters as nested dicts: paths, partition, merge, sizes.

A path joins the keys with "/": `"stage3/block0/conv1/kernel"`. Sub-trees are pruned nested dicts, so that a partition
holds nothing of the other part: no leaf, no placeholder, no memory.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

Tree = Mapping[str, Any]


def flatten(tree: Tree) -> dict[str, Any]:
    """`{"stem": {"kernel": k}}` → `{"stem/kernel": k}`, in the tree's order."""
    return traverse_util.flatten_dict(tree, sep="/")


def unflatten(flat: Mapping[str, Any]) -> dict:
    """The inverse of `flatten`."""
    return traverse_util.unflatten_dict(dict(flat), sep="/")


def map_with_path(fn: Callable[[str, Any], Any], tree: Tree) -> dict:
    """A tree of `fn(path, leaf)`."""
    return unflatten({path: fn(path, leaf) for path, leaf in flatten(tree).items()})


def partition(tree: Tree, mask: Tree) -> tuple[dict, dict]:
    """Splits `tree` by a tree of bools of the same paths into (where True, where False)."""
    flat, chosen = flatten(tree), flatten(mask)
    yes = unflatten({p: v for p, v in flat.items() if chosen[p]})
    no = unflatten({p: v for p, v in flat.items() if not chosen[p]})
    return yes, no


def merge(*trees: Tree) -> dict:
    """The union of trees with disjoint leaves; the inverse of `partition`. Raises ValueError where two share a path."""
    flat: dict[str, Any] = {}
    for tree in trees:
        for path, leaf in flatten(tree).items():
            if path in flat:
                raise ValueError(f"two trees hold the leaf {path!r}")
            flat[path] = leaf
    return unflatten(flat)


def select(tree: Tree, like: Tree) -> dict:
    """The leaves of `tree` at the paths of `like`."""
    flat = flatten(tree)
    return unflatten({path: flat[path] for path in flatten(like)})


def as_tuples(value: Any) -> Any:
    """Returns a value in which every list, however deep in lists and tuples, is a tuple, so that it can be hashed."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def count(tree: Any) -> int:
    """The number of parameters (array elements)."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def nbytes(tree: Any) -> int:
    """The number of bytes of the whole arrays, whatever their sharding."""
    return sum(int(np.prod(x.shape)) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
