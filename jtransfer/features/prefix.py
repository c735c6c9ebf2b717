"""The frozen prefix of a model is computed once: its outputs are a data source of their own."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.evaluators.gather import gather


def first_trained(trainable: trees.Tree, stages: Sequence[str]) -> str:
    """The first stage that owns a trained parameter; all before it is the frozen prefix.

    Args:
      trainable: bools over the parameters' paths.
      stages: the model's stage names, in order.

    Raises:
      InputError: nothing is frozen before it, so there is nothing to cache.
    """
    moving = {path.split("/")[0] for path, moves in trees.flatten(trainable).items() if moves}
    owners = [stage for stage in stages if stage in trainable]
    first = next((stage for stage in stages if stage in moving), None)
    if first is None or first == owners[0]:
        raise InputError(f"cache: no stage is frozen before {first!r}, the first that is trained; set cache=False")
    return first


def extract(eval_step: Callable, variables: dict, batches: Iterable[dict]) -> tuple[Any, np.ndarray]:
    """The features of every example of a source, in the source's order, and the labels, the same on every process.

    Args:
      eval_step: `step.make_eval_step(model, stop=stage)`, perhaps jitted.
      variables: what it takes.
      batches: every example once, with `label`, `index` and `mask` (`data.eval_batches`, put on the devices), all of
        one width.

    Returns:
      What the stages before `stage` make of each example, a pytree of [N, …], and the labels [N, …].
    """
    table = gather(eval_step, variables, batches)
    return table["features"], table["label"]


def source_of(features: Any, labels: np.ndarray, source: Source) -> Source:
    """Returns a data source of cached features, `source[i] == {"inputs": features[i], "label": labels[i]}`.

    Args:
      features: what the frozen stages make of each example, a pytree of [N, …].
      labels: the labels [N, …].
      source: the examples that the features are of, whose classes and kind of labels are kept.
    """

    def read(i: int) -> dict[str, Any]:
        return {"inputs": jax.tree.map(lambda x: x[i], features), "label": labels[i]}

    return dataclasses.replace(source, size=len(labels), read=read)
