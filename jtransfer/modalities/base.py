"""What a modality is: all that is known of one kind of input, from its files to the model and back to the user."""

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
        """Returns whether an example is of this modality, which the names of what it holds tell."""
        raise NotImplementedError

    @classmethod
    def unlabelled(cls, example: Mapping[str, Any]) -> str:
        """Returns the name of the task for such examples without labels."""
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
        """Returns this modality with its files read, or with what is computed from the training examples instead.

        Args:
          places: Where the files may be, in order of precedence: the run's folder, and what the run starts from
            ("scratch", the folder of another run, or a checkpoint).
          source: The training examples.
        """
        return self

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the files that a run keeps into the run's folder."""

    def model_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        """Returns fields of the model that the data decide, such as `channels`, and that a config may not give.

        Args:
          model: The model with its usual fields.
          init: What the run starts from, `config.init`.
        """
        return {}

    def usual_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        """Returns fields of the model that the data decide unless the config gives them.

        Args:
          model: The model with its usual fields.
          init: What the run starts from, `config.init`.
        """
        return {}

    def pack(self, source: Source, task: Task) -> Source:
        """Returns the source to train on, whose rows may hold several examples each; by default the source itself."""
        return source

    def make_transform(self, task: Task, model: Any, *, train: bool) -> Transform:
        """Returns the function `(example, rng) -> {"inputs": …, "label": …}` that runs on the host, in several threads.

        Args:
          task: The task, whose `form` says what is needed of an example.
          model: The Linen module.
          train: Whether it is for training, where the function may be random.

        Raises:
          InputError: The modality has no transform for the form of the task, or a field is wrong.
        """
        raise NotImplementedError

    def make_preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        """Returns a jittable function from the `inputs` of a batch to the model's input, which runs inside the step."""
        return lambda inputs: inputs

    def with_preprocessing(self, model: Any) -> Any:
        """Returns the model with its fields of preprocessing, if it has some, set to those of this run."""
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
    """Returns the fields that a modality adds to `config.data`, with their defaults."""
    return {
        field.name: field.default
        for field in dataclasses.fields(modality)
        if not field.metadata.get("state") and field.default is not dataclasses.MISSING
    }


def of_config(modality: type[Modality], config: Mapping[str, Any] | ConfigDict) -> Modality:
    """The modality with the fields that a `config.data` has."""
    return modality(**{name: config[name] for name in fields(modality) if name in config})


def no_form(modality: Modality, task: Task) -> InputError:
    """Returns the error of a modality that has no transform for the form of a task."""
    return InputError(f"task={task.name!r} is not one for {modality.nouns[1]}")


def zero_inputs(transform: Transform, source: Source) -> Any:
    """Returns zeros of the shapes and dtypes of the `inputs` of a batch with one example.

    Args:
      transform: The transform of the modality.
      source: The examples, of which the first is read.
    """
    row = transform(source[0], np.random.default_rng(0))
    collate = getattr(transform, "collate", None)
    inputs = collate([row])["inputs"] if collate else jax.tree.map(lambda x: np.asarray(x)[None], row["inputs"])
    return jax.tree.map(np.zeros_like, inputs)


def zero_sample(preprocess: Callable[[Any], Any], inputs: Any) -> Any:
    """Returns zeros of the shapes and dtypes of the model's input.

    Args:
      preprocess: The function that makes the model's input.
      inputs: The `inputs` of a batch.
    """
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(preprocess, inputs))
