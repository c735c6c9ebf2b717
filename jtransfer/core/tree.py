"""Trees of parameters as nested dicts: paths, partition, merge, sizes.

A path joins keys by "/", as in "stage3/block0/conv1/kernel". Subtrees are pruned: a part of a tree has nothing of the
rest, neither leaves nor placeholders. Keys may be numbers, as those of lists in `flax.nnx.to_pure_dict`; a tree that is
made of another's paths has them, too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

Tree = Mapping[Any, Any]


class Path(str):
    """A path of which a key is no text, and which still has its keys."""

    keys: tuple[Any, ...]


def flatten(tree: Tree) -> dict[str, Any]:
    """Returns a tree as a dict by path, in the order of the tree: `{"stem": {"kernel": k}}` → `{"stem/kernel": k}`."""
    return {_path(keys): leaf for keys, leaf in traverse_util.flatten_dict(tree).items()}


def unflatten(flat: Mapping[str, Any]) -> dict:
    """Returns a dict by path as a nested dict; the inverse of `flatten`."""
    return traverse_util.unflatten_dict({_keys(path): leaf for path, leaf in flat.items()})


def _path(keys: tuple[Any, ...]) -> str:
    if all(isinstance(key, str) for key in keys):
        return "/".join(keys)
    path = Path("/".join(map(str, keys)))
    path.keys = keys
    return path


def _keys(path: str) -> tuple[Any, ...]:
    return path.keys if isinstance(path, Path) else tuple(path.split("/"))


def map_with_path(fn: Callable[[str, Any], Any], tree: Tree) -> dict:
    """Returns the tree of `fn(path, leaf)` for each leaf."""
    return unflatten({path: fn(path, leaf) for path, leaf in flatten(tree).items()})


def partition(tree: Tree, mask: Tree) -> tuple[dict, dict]:
    """Splits a tree in two.

    Args:
      tree: The tree.
      mask: A tree of bools with the same paths.

    Returns:
      The tree of the leaves where the mask is True, and that of those where it is False.
    """
    flat, chosen = flatten(tree), flatten(mask)
    yes = unflatten({p: v for p, v in flat.items() if chosen[p]})
    no = unflatten({p: v for p, v in flat.items() if not chosen[p]})
    return yes, no


def merge(*trees: Tree) -> dict:
    """Returns the union of trees that have no leaf in common; the inverse of `partition`.

    Raises:
      ValueError: Two trees have a leaf at the same path.
    """
    flat: dict[str, Any] = {}
    for tree in trees:
        for path, leaf in flatten(tree).items():
            if path in flat:
                raise ValueError(f"two trees hold the leaf {path!r}")
            flat[path] = leaf
    return unflatten(flat)


def select(tree: Tree, like: Tree) -> dict:
    """Returns the leaves of `tree` that are at the paths of `like`."""
    flat = flatten(tree)
    return unflatten({path: flat[path] for path in flatten(like)})


def as_tuples(value: Any) -> Any:
    """Returns a value in which every list, however deep in lists and tuples, is a tuple, so that it can be hashed."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def count(tree: Any) -> int:
    """Returns the number of parameters, which is the number of array elements."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def nbytes(tree: Any) -> int:
    """Returns the number of bytes of all arrays, each counted once, however they are sharded."""
    return sum(int(np.prod(x.shape)) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
