"""What a run's config leaves open of the model and of generation, told by the weights, the task and the data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jtransfer import generate, models, weights
from jtransfer.core import registry
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import height_width
from jtransfer.core.show import say
from jtransfer.modalities import Modality
from jtransfer.runs import folder as folders
from jtransfer.runs import part_weights
from jtransfer.runs.model import given_fields
from jtransfer.runs.open import open as open_run
from jtransfer.tasks import Task
from jtransfer.weights.identify import manifest


def describe(
    config: Any,
    init: weights.Source,
    task: Task,
    modality: Modality,
    num_classes: int,
    init_parts: Mapping[str, weights.Source],
) -> tuple[str, dict[str, Any]]:
    """The name and fields of a run's model.

    What the weights' own files say counts, whether `model.name` is empty or names the model: the config's own fields
    win over it. The head is the one that the task needs, if the model has one to choose. Of a model that begins from
    scratch, what the modality says counts where the config says nothing.

    Args:
      config: the complete config.
      init: `config.init`, opened.
      task, modality, num_classes: of the target.
      init_parts: `config.init_parts`, opened.

    Raises:
      InputError: there is no such model, or it can't do the task.
    """
    name, fields, head = config.model.name, given_fields(config), task.head
    if not name and config.init == "scratch":
        raise InputError("model.name is empty: give one, or weights in init")
    begun = open_run(init).config.model if folders.is_run(init) else None
    of_parts = name in models.MADE and not (begun and begun.name == name)
    part_weights.check(name, fields, config.init if of_parts else "scratch", config.init_parts)
    if of_parts:
        return name, _of_parts(name, fields, part_weights.sources(init, init_parts), head, modality, num_classes)
    usual = manifest.create(name, fields, num_classes=num_classes) if name and name not in models.MADE else None
    if name and task.generates and getattr(usual, "head", "lm") != "lm":
        raise InputError(f"model.name={name!r} is no model for task={task.name!r}, which needs one that generates")
    if config.init == "scratch" or (registry.is_address(name) and not folders.is_run(init)):
        chosen = {"head": head} if head and hasattr(usual, "head") else {}
        return name, chosen | modality.usual_fields(usual, config.init) | fields
    if folders.is_run(init):
        return _of_run(init, name, head, fields)
    return _of_weights(init, name, head, modality, num_classes, fields)


def _of_parts(
    name: str, fields: dict, sources: Mapping[str, weights.Source], head: str, modality: Modality, num_classes: int
) -> dict[str, Any]:
    """The fields of a model that is made of others, each of which is what its weights say.

    Args:
      name, fields: of the model.
      sources: part → its weights.
      head, modality, num_classes: as for `_of_weights`.
    """
    found = models.parts(name, fields)
    for part, (one, own) in found.items():
        if not one and part not in sources:
            where = "init" if part == part_weights.FIRST else f"init_parts.{part}"
            raise InputError(f"model {name!r}: name the model of the part {part!r}, or give its weights in {where}")
        if (source := sources.get(part)) is not None:
            own = {key: value for key, value in own.items() if key != "head"}
            faces = part != part_weights.LAST
            told = _of_part(source, one, own) if folders.is_run(source) else None
            told = told or _of_weights(source, one, "", modality, num_classes, own, faces=faces)
            decided = modality.model_fields(manifest.create(*told), source) if faces else ()
            left_out = {"head", "num_classes", *decided}
            found[part] = told[0], {key: value for key, value in told[1].items() if key not in left_out} | own
    joined = models.join(name, fields, found)
    takes = models.fields_of(models.parts(name, joined)[part_weights.FIRST][0]) if part_weights.FIRST in found else None
    chosen = {"head": head} if head in ("classify", "embed", "tag") and (takes is None or "head" in takes) else {}
    return chosen | joined


def _of_part(source: Any, name: str, fields: dict) -> tuple[str, dict[str, Any]]:
    """The name and all fields of a run's model, with those that its data decided."""
    stored = open_run(source)
    own = stored.config.model.name
    if name in ("", own):
        return own, manifest.fields(own, stored.model) | fields
    return _of_run(source, name, "", fields)


def _of_run(source: Any, name: str, head: str, fields: dict) -> tuple[str, dict[str, Any]]:
    """The name and fields of a run's model, with the head that the task needs. Arguments as for `_of_weights`."""
    stored = open_run(source).config.model
    own = stored.fields.to_dict()
    if name and name != stored.name:
        made, usual = manifest.create(stored.name, own), models.create(name)
        own = manifest.fields(name, made) if type(made) is type(usual) else {}
    name = name or stored.name
    usual = manifest.create(name, own if name == stored.name else {})
    chosen = {"head": head} if head and hasattr(usual, "head") else {}
    return name, own | chosen | fields


def _usual(modality: Modality, model: Any, init: weights.Source, given: dict[str, Any]) -> dict[str, Any]:
    """The fields that the data and the weights' files decide where the config does not."""
    try:
        return modality.usual_fields(model, init)
    except InputError:
        if "pixels" not in given:
            raise
    return {}


def _of_weights(
    source: weights.Source,
    name: str,
    head: str,
    modality: Modality,
    num_classes: int,
    fields: dict,
    *,
    faces: bool = True,
) -> tuple[str, dict[str, Any]]:
    """The name and fields of the model of some weights, with the head that the task needs where it has one to choose.

    Args:
      source: the weights.
      name: the model's name that the config gives, or "": then it is what the source says.
      head: the head that the task needs, or "".
      modality, num_classes: of the target.
      fields: that the config gives; they win over what the source says.
      faces: whether the model is given the data.
    """
    asked = {"model": name or None, "num_classes": num_classes, **fields}
    described = weights.describe(source, **asked)
    unsure, asked["model"] = described.unsure, described.name  # what it is of is found out once
    if head and hasattr(described.model, "head"):
        described = weights.describe(source, **({"head": head} | asked))
    if "pixels" in unsure and jax.process_index() == 0:
        say(f"? the preprocessing can't be told from the source; it is that of {described.name}")
    size = _usual(modality, described.model, source, fields).get("image_size") if faces else None
    if "image_size" not in fields and size is not None and height_width(size) != described.model.sides:
        if jax.process_index() == 0:
            say(f"model.fields.image_size is {size}, to which the weights' files resize and crop images")
        head_fields = {"head": described.model.head} if head and hasattr(described.model, "head") else {}
        described = weights.describe(source, **(head_fields | asked | {"image_size": size}))
    found = manifest.fields(described.name, described.model)
    decided = {"num_classes", *(modality.model_fields(described.model, source) if faces else ())}
    return described.name, {key: value for key, value in found.items() if key not in decided} | fields


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
