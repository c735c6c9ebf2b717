"""The model of a run: its name and fields, told by the config, the weights and the data; and the model itself."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from etils import epath

from jtransfer import generate, models, weights
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import shortest
from jtransfer.modalities import Modality
from jtransfer.runs import config as configs
from jtransfer.runs import folder as folders
from jtransfer.runs.upgrade import upgrade
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
    name, fields, head = config.model.name, _given(config), task.head
    if not name and config.init == "scratch":
        raise InputError("model.name is empty: give one, or weights in init")
    if not name:
        return _of_weights(init, head, modality, num_classes, fields)
    usual = models.create(name, num_classes, **fields)
    if task.writes and getattr(usual, "head", "lm") != "lm":
        raise InputError(f"model.name={name!r} is no model for task={task.name!r}, which needs one that generates")
    if head and hasattr(usual, "head"):
        fields.setdefault("head", head)
    return name, modality.usual_fields(usual, config.init) | fields


def _of_weights(
    source: weights.Source, head: str, modality: Modality, num_classes: int, fields: dict
) -> tuple[str, dict]:
    """The name and fields of a source's model, with the head that the task needs where it has one to choose."""
    if folders.is_run(source):
        model = configs.complete(upgrade(folders.read_json(epath.Path(source) / "config.json"))).model
        chosen = {"head": head} if head and hasattr(models.create(model.name), "head") else {}
        return model.name, model.fields.to_dict() | chosen | fields
    asked = {"num_classes": num_classes, **fields}
    described = weights.describe(source, **asked)
    if head and hasattr(described.model, "head"):
        described = weights.describe(source, **({"head": head} | asked))
    found = manifest.fields(described.name, described.model)
    decided = {"num_classes", *modality.model_fields(described.model, source)}
    return described.name, {key: value for key, value in found.items() if key not in decided}


def generation(config: Any, init: weights.Source, task: Task) -> dict[str, Any]:
    """What the weights' own files say of how to generate, but for the length; nothing for another tokenizer's."""
    if config.init == "scratch" or config.data.tokenizer not in ("", config.init):
        return {}
    if folders.is_run(init):
        kept = configs.complete(upgrade(folders.read_json(epath.Path(config.init) / "config.json")))
        return kept.generate.fields.to_dict() if kept.task == config.task else {}
    found = dataclasses.asdict(generate.read(init, encoder_decoder=task.form == "seq2seq"))
    usual = dataclasses.asdict(generate.Settings())
    return {name: value for name, value in found.items() if value != usual[name] and name != "max_new_tokens"}


def create(config: Any, modality: Modality, num_classes: int) -> Any:
    """The model that a config with a model's name describes.

    Raises:
      InputError: a field is wrong, or one that the data decide, or the model does not take such inputs.
    """
    try:
        dtype = jnp.dtype(config.model.dtype)
    except TypeError:
        dtype = jnp.dtype(bool)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"model.dtype={config.model.dtype!r}: give float32 or bfloat16")
    name, fields = config.model.name, _given(config)
    _refuse(fields, {"dtype": "model.dtype", "num_classes": "the data's number of classes"})
    usual = models.create(name, num_classes, **fields)
    takes = getattr(usual, "takes", ())
    if takes and modality.kind not in takes:
        kinds = " or ".join(takes)
        raise InputError(f"model {name!r} takes {kinds}, and these are {modality.nouns[1]}; name another in model.name")
    decided = modality.model_fields(usual, config.init)
    _refuse(fields, {field: f"data.{field}" for field in decided})
    return models.create(name, num_classes, dtype=dtype, **(fields | decided))


def _given(config: Any) -> dict[str, Any]:
    """The fields that a config gives."""
    fields = config.model.fields.to_dict()
    return fields | ({"image_size": _image_size(fields["image_size"])} if "image_size" in fields else {})


def _refuse(fields: Mapping[str, Any], decided: Mapping[str, str]) -> None:
    for field in decided.keys() & fields.keys():
        raise InputError(f"model.fields.{field} is given by {decided[field]}; leave it out")


def _image_size(size: Any) -> int | tuple[int, int]:
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"model.fields.image_size={size!r} must be a positive number of pixels, or (height, width)")
    return shortest(sides)
