"""Whole models fused: any trees of the same paths and shapes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, some
from jtransfer.fusion import methods


def fuse(
    models: Sequence[trees.Tree],
    how: str = "uniform",
    *,
    base: trees.Tree | None = None,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    fishers: Sequence[trees.Tree] | None = None,
    grams: Sequence[trees.Tree] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Returns one model out of several, path by path.

    Args:
      models: Trees of arrays, such as {"params": …, "batch_stats": …}, of the same paths and shapes.
      how: "uniform", "wise", "slerp", "task_arithmetic", "magnitude", "breadcrumbs", "ties", "dare", "dare_ties",
        "knots", "stock", "fisher" or "regmean"; or the address of a `fusion.Method`.
      base: The model that all began from, for the ways that need it.
      weights: A number for each model; by default 1 / n, or 1 for "ties", "dare_ties" and "knots", which average.
      seed: Of the random numbers of "dare" and "dare_ties".
      fishers: For "fisher", trees of the Fisher information.
      grams: For "regmean", trees with the inner products [d, d] of inputs at the paths of the kernels that they are of.
      **fields: Of the way: `alpha`, `t`, `density`, `gamma`, `convention`, `floor`.

    Raises:
      InputError: The trees differ, something that is needed is not given, or a number is not finite.
    """
    flat, flat_base = [trees.flatten(model) for model in models], trees.flatten(base) if base is not None else None
    found = methods.check(how, len(models), weights, fields, base=base is not None)
    beside = {name: value for name, value in (("fishers", fishers), ("grams", grams)) if value is not None}
    if missing := [need for need in methods.METHODS[how].needs if need in ("fishers", "grams") and need not in beside]:
        raise InputError(f"{how!r} needs {missing[0]}; give a tree for each model")
    check_same([_shapes(one) for one in (*flat, *([flat_base] if flat_base is not None else []))])
    more = {name: [trees.flatten(tree) for tree in value] for name, value in beside.items()}
    return trees.unflatten(
        {
            path: methods.fuse_arrays(
                how,
                path,
                [one[path] for one in flat],
                found,
                base=None if flat_base is None else flat_base[path],
                seed=seed,
                given=at_path(more, path),
                fields=fields,
            )
            for path in flat[0]
        }
    )


def at_path(more: Mapping[str, Sequence[Mapping[str, Any]]], path: str) -> dict[str, Any]:
    """Returns what a way needs beside the arrays at a path, [n, …], of flat trees that have something there."""
    return {
        name: np.stack([np.asarray(one[path]) for one in each])
        for name, each in more.items()
        if all(path in one for one in each)
    }


def _shapes(flat: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {path: tuple(np.shape(leaf)) for path, leaf in flat.items()}


def check_same(shapes: Sequence[Mapping[str, tuple[int, ...]]], names: Sequence[str] = ()) -> None:
    """Checks that models have the same paths and shapes.

    Args:
      shapes: Path → shape, of each.
      names: What each is called; by default its number.

    Raises:
      InputError: They differ; the text has the first paths where they do.
    """
    first, *others = shapes
    called = names or [f"model {number + 1}" for number in range(len(shapes))]
    for name, other in zip(called[1:], others, strict=True):
        lines = [f"{path} is {list(first[path])} and {list(other[path])}" for path in first if path in other
                 and first[path] != other[path]]  # fmt: skip
        lines += [f"{path} is in {called[0]} alone" for path in first if path not in other]
        lines += [f"{path} is in {name} alone" for path in other if path not in first]
        if lines:
            raise InputError(f"{called[0]} and {name} are no models of one architecture: {some(lines, 3)}")
