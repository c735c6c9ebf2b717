"""What a state holds on a device, group by group of parameters."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jtransfer import peft
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.dry_run.shapes import per_device
from jtransfer.runs import summary

REST = "(counts of the optimizer)"


class Row(NamedTuple):
    """A group of arrays of a state.

    Attributes:
      group: A block or a stage, or, of adapters, the modules that they adapt.
      shape: Of the largest array.
      sharding: How that one is laid on the mesh: "replicated", or the mesh axes of its dimensions.
      status: "trained", "frozen", or "statistics", which move without a gradient.
      params: The number of numbers.
      bytes: What the arrays take on one device.
      optimizer: What the optimizer and the moving average keep of them on one device.
    """

    group: str
    shape: tuple[int, ...]
    sharding: str
    status: str
    params: int
    bytes: int
    optimizer: int


def of_state(state: Any) -> list[Row]:
    """Returns the rows of a state, whose leaves are `jax.ShapeDtypeStruct`s with shardings."""
    parts = {"trained": state.trainable, "frozen": state.frozen, "statistics": state.model_state}
    names = rules.names(trees.merge(*parts.values()))
    groups: dict[tuple[str, str, str], list[tuple[str, Any]]] = defaultdict(list)
    for status, tree in parts.items():
        for path, leaf in trees.flatten(tree).items():
            key = _group(names[path]), status, "" if leaf.sharding.is_fully_replicated else "cut"
            groups[key].append((path, leaf))
    kept = _kept(state, {path for found in groups.values() for path, _ in found})
    rows = [_row(name, status, found, kept) for (name, status, _), found in groups.items()]
    rest = kept.get("", 0)
    return [*rows, *([Row(REST, (), "replicated", "", 0, 0, rest)] if rest else [])]


def _row(name: str, status: str, found: list[tuple[str, Any]], kept: Mapping[str, int]) -> Row:
    largest = max((leaf for _, leaf in found), key=lambda leaf: leaf.size)
    leaves = [leaf for _, leaf in found]
    of_optimizer = sum(kept.get(path, 0) for path, _ in found)
    laid = "replicated" if largest.sharding.is_fully_replicated else _spec(largest)
    return Row(name, largest.shape, laid, status, trees.count(leaves), per_device(leaves), of_optimizer)


def _spec(leaf: Any) -> str:
    spec = [*leaf.sharding.spec, *[None] * (len(leaf.shape) - len(leaf.sharding.spec))]
    return f"({', '.join(str(axis or '-') for axis in spec)})"


def _group(path: str) -> str:
    if not path.startswith(summary.ADAPTERS):
        return summary.group(path)
    return summary.ADAPTERS + peft.kind("/".join(path.replace("/fixed/", "/").split("/")[1:-2]))


def _kept(state: Any, paths: set[str]) -> dict[str, int]:
    """Path of a parameter → the bytes that the optimizer and the average keep of it; under "", all other."""
    found: dict[str, int] = defaultdict(int)
    for keys, leaf in jax.tree_util.tree_leaves_with_path((state.opt_state, state.ema)):
        names = [str(key.key) for key in keys if isinstance(key, jax.tree_util.DictKey)]
        ends = ("/".join(names[i:]) for i in range(len(names)))
        found[next((end for end in ends if end in paths), "")] += per_device(leaf)
    found[""] += per_device((state.step, state.rng))
    return found
