"""What an evaluator is made from, and what it is."""

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
      batches: source → its batches on the devices, every example once, as the model takes them.
      step: `(variables, batch) -> {name: [B, …]}`, jitted: what the task keeps of a batch (`Task.keep`).
      examples: split → batches for `step`. They hold cached features where the phase trains on such.
    """

    config: Any
    model: Any
    task: Task
    modality: Modality
    class_names: Sequence[str]
    source: Callable[[str], Source]
    batches: Callable[[Source], Iterator[dict]]
    step: Callable[[Any, dict], dict]
    examples: Callable[[str], Iterator[dict]]
