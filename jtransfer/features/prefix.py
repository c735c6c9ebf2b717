"""Computes the frozen first stages of a model once, and trains on their outputs, as on a data source."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.evaluators.gather import gather


def first_trained(trainable: trees.Tree, stages: Sequence[str]) -> str:
    """Returns the name of the first stage that is trained; all stages before it are the frozen prefix.

    Args:
      trainable: A tree of bools over the parameters, or over collections of variables: whether each is trained. An
        adapter belongs to the stage that it adapts.
      stages: The names of the stages of the model, in order.

    Raises:
      InputError: Nothing is frozen before that stage, so that there is nothing to compute once.
    """
    parts = rules.by_collection(trainable)
    of_model = [trees.flatten(parts[name]).items() for name in ("params", "adapters") if name in parts]
    moving = {path.split("/")[0] for leaves in of_model for path, moves in leaves if moves}
    owners = [stage for stage in stages if stage in parts["params"]]
    first = next((stage for stage in stages if stage in moving), None)
    if first is None or first == owners[0]:
        raise InputError(f"cache: no stage is frozen before {first!r}, the first that is trained; set cache=False")
    return first


def extract(eval_step: Callable, variables: dict, batches: Iterable[dict]) -> tuple[Any, np.ndarray]:
    """Computes the outputs of the frozen prefix for every example of a source.

    Args:
      eval_step: A function of (variables, batch) that runs the model up to a stage, from `step.make_eval_step`.
      variables: The variables of the model.
      batches: Every example once, on the devices, with `label`, `index` and `mask`, from `data.eval_batches`. All have
        one width.

    Returns:
      The outputs, a pytree of [N, …], and the labels [N, …], both in the order of the source and the same on every
        process.
    """
    table = gather(eval_step, variables, batches)
    return table["features"], table["label"]


def source_of(features: Any, labels: np.ndarray, source: Source) -> Source:
    """Returns the data source of cached features, `source[i] == {"inputs": features[i], "label": labels[i]}`.

    Args:
      features: The outputs of the frozen prefix for each example, a pytree of [N, …].
      labels: The labels [N, …].
      source: The examples that the features are of, whose classes and kind of labels are kept.
    """

    def read(i: int) -> dict[str, Any]:
        return {"inputs": jax.tree.map(lambda x: x[i], features), "label": labels[i]}

    return dataclasses.replace(source, size=len(labels), read=read)
