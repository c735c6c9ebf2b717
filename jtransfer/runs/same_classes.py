"""Another data set with the classes of a run, which go by their names."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import data as datasets
from jtransfer import modalities, tasks
from jtransfer.core.errors import InputError, some
from jtransfer.data import Source
from jtransfer.modalities import Modality
from jtransfer.runs import filling
from jtransfer.runs.stream import spec_of
from jtransfer.tasks import Task


def opened(config: Any, modality: Modality, task: Task, class_names: Sequence[str], given: Mapping[str, Any]) -> Source:
    """Returns the examples of another data set that a run's model is to be measured on.

    Args:
      config: the run's, complete.
      modality, task, class_names: of the run.
      given: fields of `config.data` that differ, such as `name`; `test` is the split.

    Raises:
      InputError: there is no such field, data set or split, or it has other labels, or classes that the run has not.
    """
    for name, other in modalities.foreign_fields(type(modality), given):
        raise InputError(f"data.{name} is for {other.nouns[1]}, and the run's are {modality.nouns[1]}; leave it out")
    section = type(config)(filling.fill(config.data.to_dict(), given, "data", ()))
    whole = datasets.open(spec_of(section, config.modality, config.task), section.test)
    if not len(whole):
        raise InputError(f"{section.name}, {section.test}: there is no example")
    modality.check(task, whole[0])
    tasks.check(config.task, task, whole)
    return modality.pack(renumbered(whole, class_names, section.name), task)


def renumbered(source: Source, class_names: Sequence[str], where: str) -> Source:
    """Returns the source with the numbers that the run gives to the classes of these names.

    Args:
      source: the examples.
      class_names: of the run, in order.
      where: the name of the data set, for the error.

    Raises:
      InputError: the data have classes that the run has not.
    """
    if source.label_kind not in ("class", "classes", "tags") or list(source.class_names) == list(class_names):
        return source
    known = {name: number for number, name in enumerate(class_names)}
    missing = [name for name in source.class_names if name not in known]
    if missing:
        raise InputError(
            f"{where} has classes that the run was not trained for: {some(missing)}; the run's are {some(class_names)}"
        )
    numbers = np.array([known[name] for name in source.class_names], np.int32)

    def changed(label: Any) -> Any:
        if source.label_kind == "class":
            return int(numbers[label])
        if source.label_kind == "tags":
            return [int(numbers[one]) if one >= 0 else one for one in label]
        vector = np.zeros(len(class_names), np.float32)
        vector[numbers] = label
        return vector

    def read(index: int) -> dict:
        example = source.read(index)
        return example | {"label": changed(example["label"])}

    def read_labels(start: int, stop: int) -> np.ndarray:
        return np.array([changed(label) for label in source.read_labels(start, stop)])

    return dataclasses.replace(source, class_names=list(class_names), read=read, read_labels=read_labels)
