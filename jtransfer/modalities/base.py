"""What a modality is: all that is known of one kind of input, from its files to the model and back to the user."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ml_collections import ConfigDict

from jtransfer import weights
from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.modalities.given import Given, Transform
from jtransfer.modalities.returned import Plain, Writing
from jtransfer.tasks.base import Task

STATE = {"state": True}  # metadata of a field that is read from files, not from a config


@dataclasses.dataclass(frozen=True)
class Modality(Given):
    """One kind of input, such as images. A subclass is a frozen dataclass whose fields become fields of `config.data`.

    A field with `metadata=STATE` is no field of the config. It holds what `open` reads or computes, such as a
    tokenizer, and `save` writes it into the run's folder. A subclass must define `accepts` and `make_transform`; the
    other methods have defaults.

    Attributes:
      kind: The name of the modality, which a model that takes such inputs has as its attribute `takes`.
      nouns: The words for one example and for several in messages.
      mixes: The mixing augmentations that suit such inputs: "mixup" for arrays of numbers, "cutmix" for images.
      folder: The folder inside a run's folder that `save` writes into; "" for the run's folder itself.
      files: The names of files that may lie beside weights and that `open` reads. An export copies them.
      prepares: The names of the fields that say how an example is prepared for a model, and not how it is read. Each
        model that sees the same examples has its own.
      corruptions: The names of what `corrupt` can do to an example.
      sent: What a client may send to a server of one example: a "file", of which `read` is given the path of a copy; a
        "string"; or "numbers", which `read` is given with commas in between. Examples of a modality without any are not
        served.
      pipelines: Task, or head of a model → what the Hugging Face hub calls models of such inputs for it.
    """

    kind: ClassVar[str] = ""
    nouns: ClassVar[tuple[str, str]] = ("example", "examples")
    mixes: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()
    prepares: ClassVar[tuple[str, ...]] = ()
    corruptions: ClassVar[tuple[str, ...]] = ()
    sent: ClassVar[tuple[str, ...]] = ()
    pipelines: ClassVar[Mapping[str, str]] = {}

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
        """Checks that an example has what the form of the task needs.

        Raises:
          InputError: The example lacks something.
        """

    @classmethod
    def own_preprocess(cls, model: Any) -> Callable[[Any], Any]:
        """Returns the preprocessing that a model describes in its own fields, a jittable function of one array.

        The function returns arrays unchanged whose dtype is not that of raw examples of this modality.
        """
        return lambda x: x

    @classmethod
    def own_files(cls, model: Any, library: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Returns what a library's configuration files say of the preprocessing that a model describes in its fields.

        Args:
          model: The Linen module.
          library: "transformers" or "timm".

        Returns:
          File name → what is to stand in it; and lines that say in what the library does otherwise.

        Raises:
          InputError: The library does nothing of the kind, and can't be told so.
        """
        return {}, []

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

    def without_init(self, init: str) -> dict[str, Any]:
        """Returns fields of `config.data` with which a run from scratch reads the same inputs as one from `init`."""
        return {}

    def small_model(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Returns fields of a config, by their path, of a small network that is trained on these inputs alone, which
        transfer is compared with; {} where the modality knows none."""
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

    def make_strong(self, task: Task, model: Any) -> tuple[str, Transform]:
        """Returns how a second, strongly changed view of a training example is made: in words, and as a transform.

        Args:
          task: The task.
          model: The Linen module.

        Raises:
          InputError: The modality has none, or a field is wrong.
        """
        raise InputError(f"a term needs a strong view of each example, and {self.nouns[1]} have none")

    def make_preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        """Returns a jittable function from the `inputs` of a batch to the model's input, which runs inside the step."""
        return lambda inputs: inputs

    def ends(self, example: Mapping[str, Any], task: Task, model: Any) -> np.ndarray:
        """Returns where in its text each of an example's labels ends, by which two tokenizations of it are aligned.

        Args:
          example: An example of the source.
          task: The task.
          model: The Linen module.

        Returns:
          int32 [n + 1] of n labels of tokens: the end of the token before the first label, and then of each that is
            predicted. That is twice the number of characters up to there, white space left out, and one more after a
            token of white space alone; -1 of a token that stands for no text.

        Raises:
          InputError: There is no such text.
        """
        raise InputError(f"{self.nouns[1]} have no tokens whose texts could be aligned")

    def with_preprocessing(self, model: Any) -> Any:
        """Returns the model with its fields of preprocessing, if it has some, set to those of this run."""
        return model

    def writing(self, task: Task, model: Any, fields: Mapping[str, Any]) -> Writing:
        """Returns how a model generates texts for a task.

        Args:
          task: The task of the run.
          model: The Linen module.
          fields: Fields of `generate.Settings`, from `config.generate.fields`. Fields that are not given follow from
            the tokenizer and the model.

        Raises:
          InputError: A field does not exist, or this modality generates nothing.
        """
        raise InputError(f"task={task.name!r} generates texts, which {self.nouns[1]} are not")

    def describe(self, source: Source, task: Task, model: Any, rows: int) -> str:
        """Returns a line about the training examples that is printed before a run begins, or "" for none.

        Args:
          source: The examples, before they are packed.
          task: The task of the run.
          model: The Linen module.
          rows: The number of rows that the packed examples make.

        Raises:
          InputError: The examples do not fit the model, or files such as a tokenizer's.
        """
        return ""

    def blanks(self, task: Task) -> Sequence[str | bytes]:
        """Returns what a client might send, texts or the contents of files, whose rows have all shapes that there may
        be. By these a server compiles before it is asked; without any, it compiles when it is."""
        return ()

    def from_kept(self, folder: str | os.PathLike) -> dict[str, Any]:
        """Returns fields of `config.data` of a run from scratch that prepares examples as the run in a folder does."""
        return {}

    def corrupt(self, example: Mapping[str, Any], how: str, severity: int, rng: np.random.Generator) -> dict[str, Any]:
        """Returns an example that is spoilt in one of the ways of `corruptions`, at a severity from 1 to 5."""
        raise InputError(f"{self.nouns[1]} can't be corrupted by {how!r}")

    def plain_features(self, train: Sequence[Mapping[str, Any]]) -> Plain:
        """Returns the features that a trivial baseline looks at, which know of no model.

        Args:
          train: Examples that the features may be fitted to, such as the words that occur in them.

        Raises:
          InputError: This modality has none.
        """
        raise InputError(f"no baseline is known that reads {self.nouns[1]} as they are")

    def show(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a report shows of an example: `{"picture": uint8 [H, W, C]}`, `{"text": str}`, or both."""
        return {}

    def parts(self, inputs: Any) -> dict[str, Any]:
        """Returns what the parts of one prepared input look like, or are called, which an attribution is drawn over.

        Args:
          inputs: The `inputs` that the transform of an example gives.

        Returns:
          `{"picture": uint8 [H, W, 1 or 3]}`, over which a map lies; `{"tokens": list of str}`, the text of each token
          that is no filling; or `{"names": list of str}` of numbers. {} where it is not known.
        """
        return {}

    def counts(self, source: Source, task: Task, model: Any) -> dict[str, float]:
        """Returns what becomes of the examples of a source when they are prepared, by what it is: how many of them are
        cut off, empty, and the like. {} where nothing is lost.

        Args:
          source: The examples, before they are packed.
          task: The task.
          model: The Linen module.
        """
        return {}


def fields(modality: type[Modality]) -> dict[str, Any]:
    """Returns the fields that a modality adds to `config.data`, with their defaults."""
    return {
        field.name: field.default
        for field in dataclasses.fields(modality)
        if not field.metadata.get("state") and field.default is not dataclasses.MISSING
    }


def of_config(modality: type[Modality], config: Mapping[str, Any] | ConfigDict) -> Modality:
    """Returns a modality with the values that a config gives to its fields.

    Args:
      modality: The class of the modality.
      config: The section `config.data`, whose other fields are ignored.
    """
    return modality(**{name: config[name] for name in fields(modality) if name in config})


def no_form(modality: Modality, task: Task) -> InputError:
    """Returns the error of a modality that has no transform for the form of a task."""
    return InputError(f"task={task.name!r} is not one for {modality.nouns[1]}")
