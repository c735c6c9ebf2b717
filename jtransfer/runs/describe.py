"""What a run's config leaves open of the model and of generation, told by the weights, the task and the data."""

import dataclasses
from typing import Any

import jax

from jtransfer import generate, models, weights
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import height_width
from jtransfer.core.tree import as_tuples
from jtransfer.modalities import Modality
from jtransfer.runs import folder as folders
from jtransfer.runs.model import given_fields
from jtransfer.runs.open import open as open_run
from jtransfer.tasks import Task
from jtransfer.weights.identify import manifest


def describe(
    config: Any, init: weights.Source, task: Task, modality: Modality, num_classes: int
) -> tuple[str, dict[str, Any]]:
    """The name and fields of a run's model.

    Where `model.name` is empty they are those of the weights. The head is the one that the task needs, if the model has
    one to choose; what the modality says counts where the config says nothing.

    Args:
      config: the complete config.
      init: `config.init`, opened.
      task, modality, num_classes: of the target.

    Raises:
      InputError: there is no such model, or it can't do the task.
    """
    name, fields, head = config.model.name, given_fields(config), task.head
    if not name and config.init == "scratch":
        raise InputError("model.name is empty: give one, or weights in init")
    if not name:
        return _of_weights(init, head, modality, num_classes, fields)
    usual = models.create(name, num_classes, **fields)
    if task.generates and getattr(usual, "head", "lm") != "lm":
        raise InputError(f"model.name={name!r} is no model for task={task.name!r}, which needs one that generates")
    if head and hasattr(usual, "head"):
        fields.setdefault("head", head)
    return name, _usual(modality, usual, init, fields) | fields


def _usual(modality: Modality, model: Any, init: weights.Source, given: dict[str, Any]) -> dict[str, Any]:
    """The fields that the data and the weights decide where the config does not; what it decides otherwise is said."""
    try:
        usual = {} if folders.is_run(init) else modality.usual_fields(model, init)
    except InputError:
        if "pixels" not in given:
            raise
        return {}
    for key in sorted(usual.keys() & given.keys() if init != "scratch" else ()):
        if as_tuples(usual[key]) != as_tuples(given[key]) and jax.process_index() == 0:
            print(f"model.fields.{key} is {given[key]!r} by the config; the weights say {usual[key]!r}", flush=True)
    return usual


def _of_weights(
    source: weights.Source, head: str, modality: Modality, num_classes: int, fields: dict
) -> tuple[str, dict]:
    """The name and fields of a source's model, with the head that the task needs where it has one to choose."""
    if folders.is_run(source):
        model = open_run(source).config.model
        chosen = {"head": head} if head and hasattr(models.create(model.name), "head") else {}
        return model.name, model.fields.to_dict() | chosen | fields
    asked = {"num_classes": num_classes, **fields}
    described = weights.describe(source, **asked)
    if head and hasattr(described.model, "head"):
        described = weights.describe(source, **({"head": head} | asked))
    size = _usual(modality, described.model, source, fields).get("image_size")
    if "image_size" not in fields and size is not None and height_width(size) != described.model.sides:
        if jax.process_index() == 0:
            print(f"model.fields.image_size is {size}, to which the weights' files resize and crop images", flush=True)
        head_fields = {"head": described.model.head} if head and hasattr(described.model, "head") else {}
        described = weights.describe(source, **(head_fields | asked | {"image_size": size}))
    found = manifest.fields(described.name, described.model)
    decided = {"num_classes", *modality.model_fields(described.model, source)}
    return described.name, {key: value for key, value in found.items() if key not in decided}


def generation(config: Any, init: weights.Source, task: Task, task_name: str) -> dict[str, Any]:
    """What the weights' own files say of how to generate, but for the length; nothing for another tokenizer's."""
    if config.init == "scratch" or config.data.tokenizer not in ("", config.init):
        return {}
    if folders.is_run(init):
        kept = open_run(init).config
        return kept.generate.fields.to_dict() if kept.task == task_name else {}
    found = dataclasses.asdict(generate.read(init, encoder_decoder=task.form == "seq2seq"))
    usual = dataclasses.asdict(generate.Settings())
    return {name: value for name, value in found.items() if value != usual[name] and name != "max_new_tokens"}
