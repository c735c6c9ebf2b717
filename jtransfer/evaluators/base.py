"""What an evaluator is made from, and what it returns."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.modalities import Modality
from jtransfer.tasks import Task

Evaluate = Callable[[Mapping[str, Any]], Iterable[tuple[str, float | np.ndarray]]]


class Stream(NamedTuple):
    """What an evaluator may know of a stream of examples.

    Attributes:
      task: of its examples.
      source: split → its examples, by name or by an expression of its data's splits.
      labelled: whether its labels are learned from.
      validated: whether it has a split called "validation".
      loss: `(logits, labels) -> float32 [N]`, the loss of each example.
      seen: `(variables, source, at) -> table`: for every example of a source the model's output, by the stream's own
        head if it has one, as `logits` [N, …]; what the stage `at` returns, as vectors `features` float32 [N, d],
        unless it is None; and `label` and `index`. "" is the stage before the head.
    """

    task: Task
    source: Callable[[str], Source]
    labelled: bool
    validated: bool
    loss: Callable[[Any, Any], np.ndarray]
    seen: Callable[[Mapping[str, Any], Source, str | None], dict[str, Any]]


def _none_other(section: Mapping[str, Any]) -> Source:
    raise InputError("another data set can be looked at by the evaluators of a run in training alone")


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
      of_source: `(variables, source) -> table`, the same for any examples of the task.
      streams: name → stream, the target first; none of a run that is stored.
      others: split → the same of the run's other tasks that have such a split, by name: of its streams, and "source" of
        the task that its init was trained on, where `config.source` names the data.
      opened: `(fields of config.data that differ) -> source`, examples of another data set, with the numbers that the
        run gives to classes of these names. It takes the split of the field `test`.
    """

    config: Any
    model: Any
    task: Task
    modality: Modality
    class_names: Sequence[str]
    source: Callable[[str], Source]
    batches: Callable[[Source], Iterator[dict]]
    table: Callable[[Mapping[str, Any], str], dict[str, Any]]
    of_source: Callable[[Mapping[str, Any], Source], dict[str, Any]]
    streams: Mapping[str, Stream] = MappingProxyType({})
    others: Callable[[str], Mapping[str, "Context"]] = lambda split: {}
    opened: Callable[[Mapping[str, Any]], Source] = _none_other
