"""What a modality is: all that is known of one kind of input, from its files to the model and back to a person."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jtransfer import generate, weights
from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.tasks.base import Task

STATE = {"state": True}  # metadata of a field that is read from files, not from a config
Transform = Callable[..., dict]


class Writing(NamedTuple):
    """How a model generates what a task of a modality is to produce.

    Attributes:
      settings: of the generation.
      inputs: what people give to `predict` → the arrays that `generate.generate` takes.
      decoded: `(tokens [n, m], lengths [n]) -> strings [n]`: what was generated.
    """

    settings: generate.Settings
    inputs: Callable[[Sequence[str]], dict[str, np.ndarray]]
    decoded: Callable[[Any, Any], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Modality:
    """One kind of input. A modality is a dataclass; its fields are fields of `config.data`, checked like all others.

    Fields with `metadata=STATE` are no fields of a config: they hold what `open` reads, such as a tokenizer, and what
    `save` keeps in the run's folder. Only `accepts` and `make_transform` have to be written; a method that is left out
    does nothing special.

    Attributes:
      kind: what a model says in `takes`.
      nouns: what one example is called, and several.
      mixes: what can be done to a batch of inputs: "mixup" where they are arrays of numbers, "cutmix" where these are
        images.
      folder: the folder in a run's folder that `save` writes into; "" is the run's own.
      files: names of files that lie beside weights, for `open`; an export takes them along.
    """

    kind: ClassVar[str] = ""
    nouns: ClassVar[tuple[str, str]] = ("example", "examples")
    mixes: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def accepts(cls, example: Mapping[str, Any]) -> bool:
        """Whether an example of a source is of this modality, told by its names."""
        raise NotImplementedError

    @classmethod
    def unlabelled(cls, example: Mapping[str, Any]) -> str:
        """The name of the task of examples without labels."""
        return "embed"

    @classmethod
    def check(cls, task: Task, example: Mapping[str, Any]) -> None:
        """Nothing, if an example has what the task's form needs. Raises InputError where it lacks something."""

    @classmethod
    def own_preprocess(cls, model: Any) -> Callable[[Any], Any]:
        """A jittable function of one array of a model's inputs, by the model's own account of its preprocessing.

        It leaves arrays as they are that are no raw examples of this modality, by their dtype.
        """
        return lambda x: x

    def open(self, places: Sequence[weights.Source], source: Source) -> "Modality":
        """This modality with its files read; pure statistics may be computed from the training examples instead.

        Args:
          places: where the files may be, in order: the run's folder, and what the run begins with ("scratch", another
            run's folder or a checkpoint).
          source: the training examples.
        """
        return self

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the files that a run keeps into the run's folder."""

    def model_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        """Fields of the model that the data decide, such as the number of channels; a config may not give them.

        Args:
          model: a model of that name with its usual fields.
          init: `config.init`.
        """
        return {}

    def usual_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        """Fields of the model that the data decide unless the config gives them. Arguments as for `model_fields`."""
        return {}

    def pack(self, source: Source, task: Task) -> Source:
        """The source that is trained on, where several examples share a row."""
        return source

    def make_transform(self, task: Task, model: Any, *, train: bool) -> Transform:
        """`(example, rng) -> {"inputs": …, "label": …}`, run on the host, in several threads.

        Args:
          task: its `form` says what is wanted of an example.
          model: the Linen module.
          train: of training; what is random belongs there.

        Raises:
          InputError: the modality has no transform for the task's form, or a field is wrong.
        """
        raise NotImplementedError

    def make_preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        """A jittable function of the `inputs` of a batch that gives the model's input. It runs inside the step."""
        return lambda inputs: inputs

    def with_preprocessing(self, model: Any) -> Any:
        """The model with its own account of the preprocessing, if it has one, brought up to what this run does."""
        return model

    def writing(self, task: Task, model: Any, fields: Mapping[str, Any]) -> Writing:
        """How a model generates for a task that writes.

        Args:
          task, model: of the run.
          fields: settings of `generate.Settings`, `config.generate.fields`; what they leave open is told by the files
            and the model.

        Raises:
          InputError: there is no such setting, or nothing can be generated for such examples.
        """
        raise InputError(f"task={task.name!r} generates texts, which {self.nouns[1]} are not")

    def describe(self, source: Source, task: Task, model: Any, rows: int) -> str:
        """What is to be known of the training examples before a run begins; "" for nothing.

        Args:
          source: the examples, before they are packed.
          task, model: of the run.
          rows: how many there are when they are packed.

        Raises:
          InputError: they do not fit the model or the files.
        """
        return ""

    def read(self, given: str, task: Task) -> dict[str, Any]:
        """The example, without a label, that someone gives to `predict`."""
        raise InputError(f"{self.nouns[1]} can't be given to predict")

    def check_given(self, given: Sequence[str]) -> None:
        """Nothing, if all that someone gives to `predict` is there. Raises InputError where something is missing."""

    def show(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """What a report shows of an example: `{"picture": uint8 [H, W, C]}`, `{"text": str}`, or both."""
        return {}


def fields(modality: type[Modality]) -> dict[str, Any]:
    """The fields that a modality adds to `config.data`, with their defaults."""
    return {
        field.name: field.default
        for field in dataclasses.fields(modality)
        if not field.metadata.get("state") and field.default is not dataclasses.MISSING
    }


def of_config(modality: type[Modality], config: Mapping[str, Any] | ConfigDict) -> Modality:
    """The modality with the fields that a `config.data` has."""
    return modality(**{name: config[name] for name in fields(modality) if name in config})


def no_form(modality: Modality, task: Task) -> InputError:
    """The error of a modality that has no transform for a task."""
    return InputError(f"task={task.name!r} is not one for {modality.nouns[1]}")


def zero_inputs(transform: Transform, source: Source) -> Any:
    """Zeros of the shapes and dtypes of a batch's `inputs`: those of the first example, as a batch of one."""
    row = transform(source[0], np.random.default_rng(0))
    collate = getattr(transform, "collate", None)
    inputs = collate([row])["inputs"] if collate else jax.tree.map(lambda x: np.asarray(x)[None], row["inputs"])
    return jax.tree.map(np.zeros_like, inputs)


def zero_sample(preprocess: Callable[[Any], Any], inputs: Any) -> Any:
    """Zeros of the shapes and dtypes of the model's input that `preprocess` makes of a batch's `inputs`."""
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(preprocess, inputs))
