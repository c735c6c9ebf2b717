"""What an evaluator is made from, and what it returns."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.data import Source
from jtransfer.modalities import Modality
from jtransfer.tasks import Task

Evaluate = Callable[[Mapping[str, Any]], Iterable[tuple[str, float | np.ndarray]]]


class Context(NamedTuple):
    """What an evaluator may know of the run that it measures.

    Attributes:
      config: the run's whole config.
      model: the Linen module.
      task, modality, class_names: of the examples.
      source: split → its examples. A split is a name such as "test", or any expression such as "train[:500]".
      batches: source → its batches on the devices, every example once, as the host prepares them for evaluation.
      table: `(variables, split) -> {name: [N, …]}`: what the task keeps of the model's outputs for all examples of a
        split (`Task.keep`), with `label` and `index`, in order. It uses cached features where the phase has some.
      others: split → the same of the run's other tasks that have such a split, by name: of its streams, and "source" of
        the task that its init was trained on, where `config.source` names the data.
    """

    config: Any
    model: Any
    task: Task
    modality: Modality
    class_names: Sequence[str]
    source: Callable[[str], Source]
    batches: Callable[[Source], Iterator[dict]]
    table: Callable[[Mapping[str, Any], str], dict[str, Any]]
    others: Callable[[str], Mapping[str, "Context"]] = lambda split: {}
