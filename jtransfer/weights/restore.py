"""From a checkpoint alone to a filled model: what it is of is read beside it, or told by its names and shapes.

model, variables, report = weights.restore("hf://timm/resnet50.a1_in1k")
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jtransfer import models
from jtransfer.core import registry
from jtransfer.core.errors import InputError
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights import stated as descriptions
from jtransfer.weights.adapters import attach as attaching
from jtransfer.weights.identify import hf_config, manifest, model_fields, within
from jtransfer.weights.identify.detect import Detection, compare, detect, own_fields
from jtransfer.weights.load import load
from jtransfer.weights.report import Report

_LOAD = ("reinit", "ignore", "adapt", "source_image_size", "rng", "place")  # arguments of `load`


class ModelSpec(NamedTuple):
    """The model that a checkpoint is of.

    Attributes:
      name: the model's name in `models.names()`.
      model: the model, with the checkpoint's structure, number of classes, image size and preprocessing.
      class_names: the names of the classes of its head, in order; none where no file says them.
      aliases: what else the checkpoint is called, such as "resnet50.a1_in1k" by timm.
      unsure: fields that can't be told from the checkpoint, and have the values of the model called `name`.
    """

    name: str
    model: Any
    class_names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def restore(
    source: checkpoints.Source,
    *,
    classes: Sequence[str] | None = None,
    adapters: attaching.Sources = (),
    **overrides: Any,
) -> tuple[Any, dict, Report]:
    """Returns the model that a checkpoint is of, its variables, and the report of the load.

    Args:
      source: an address or an open checkpoint; see `weights.open`.
      classes: the names of new classes. The head gets these classes, and keeps what it knows of those among them that
        the checkpoint has.
      adapters: the folder of an adapter of Hugging Face's PEFT or `hf://org/name`, a list of several, whose changes add
        up, or a dict label → folder. The variables then have the collection "adapters" beside the base, which stays as
        it is (`peft.merge` puts them into it); heads and other parameters that come with an adapter replace the base's.
        The model has the head that the adapter was trained with.
      **overrides: fields of the model that are to differ from the checkpoint's, such as `num_classes`, `image_size` or
        `dtype`; `model`, a name of `models.names()`, if the checkpoint's own is not to be trusted; and `reinit`,
        `ignore`, `adapt`, `source_image_size` (by default what the files beside the checkpoint say), `rng` and `place`,
        as for `weights.load`.

    Returns:
      The model; its variables, {"params": …, "batch_stats": …}, with arrays on the host; and a `Report`.

    Raises:
      InputError: there is no such checkpoint, no model here fits it, or its tensors don't fit that model; or an adapter
        does not fit, or belongs to another base.
    """
    options = {key: overrides.pop(key) for key in _LOAD if key in overrides}
    checkpoint = checkpoints.open(source, ignore=options.pop("ignore", ()))
    if classes is not None:
        options |= {"class_names": tuple(classes), "source_class_names": checkpoints.class_names(checkpoint)}
        overrides.setdefault("num_classes", len(options["class_names"]))
    if options.get("adapt"):
        options.setdefault("source_image_size", checkpoint.image_size)
    spec = describe(checkpoint, **overrides)
    if adapters:
        stated = attaching.fields(spec.model, adapters)
        spec = describe(checkpoint, **{**stated, **overrides}) if stated else spec
    variables, report = load(checkpoint, spec.model, **options)
    if adapters:
        variables, found = attaching.attach(spec.model, variables, adapters)
        report = dataclasses.replace(report, notes=(*report.notes, *attaching.told(found)))
    unsure = tuple(dict.fromkeys((*report.unsure, *spec.unsure)))
    return spec.model, variables, dataclasses.replace(report, unsure=unsure)


def describe(source: checkpoints.Source, *, model: str | None = None, **overrides: Any) -> ModelSpec:
    """Returns the model that a checkpoint is of, without reading a tensor.

    Its own `source.json` says it, or the config.json of transformers or timm beside it, or its names and shapes.

    Args:
      source: an address or an open checkpoint; see `weights.open`.
      model: a name of `models.names()`, if the checkpoint's own is not to be trusted.
      **overrides: fields of the model that are to differ from the checkpoint's.

    Raises:
      InputError: there is no such checkpoint, no model here fits it, or the model has no such field.
    """
    checkpoint = checkpoints.open(source)
    if own := checkpoint.manifest:
        name = model or _named(own["model"]["name"], checkpoint)
        made = manifest.create(name, own["model"]["fields"], **overrides)
        fields = {**own["model"]["fields"], "depths": getattr(made, "depths", ())}
        model_fields.fit(fields, checkpoint.tensors, f"{checkpoint.name}: {manifest.FILE}")
        return ModelSpec(name, made, checkpoint.class_names)
    detection = recognise(checkpoint, model, **overrides)
    if detection is None:
        first = next(iter(checkpoint.tensors))
        raise InputError(f"{checkpoint.name}: no model here has tensors of these names (first {first!r})")
    made = models.create(detection.model, **detection.fields)
    names = checkpoint.class_names if len(checkpoint.class_names) == made.num_classes else ()
    return ModelSpec(detection.model, made, names, checkpoint.aliases, detection.unsure)


def _named(name: str, checkpoint: checkpoints.Checkpoint) -> str:
    """The name of a model in a source.json, unless it is the address of code, which is run if the user names it."""
    if registry.is_address(name):
        raise InputError(
            f"{checkpoint.name}: its source.json has the model {name!r}, which is code; no code that a file names is "
            f"run. If it is yours, name it: weights.restore(…, model={name!r}), --config.model.name, or convert --model"
        )
    return name


def recognise(checkpoint: checkpoints.Checkpoint, model: str | None = None, **overrides: Any) -> Detection | None:
    """Returns the model that the tensors of a checkpoint, and the configuration files beside it, are of.

    Args:
      checkpoint: an open checkpoint.
      model: a name of `models.names()` that wins over the checkpoint's.
      **overrides: fields of the model that win over the checkpoint's.

    Returns:
      The model with all its fields, or None if no model has such names.

    Raises:
      InputError: the files state what no model here has.
    """
    aliases, stated = checkpoint.aliases, descriptions.fields(checkpoint, model, overrides)
    model_fields.fit(stated, checkpoint.tensors, f"{checkpoint.name}: config.json")
    called = [model] if model else hf_config.names(checkpoint.configs, aliases, stated)

    def tell(tensors: Mapping[str, Any]) -> Detection | None:
        names = called
        if len(names) != 1:
            nearest = detect(tensors, aliases, stated, names)
            names = [nearest.model] if nearest else []
        return _with_fields(names[0], tensors, aliases, stated, overrides) if names else None

    return within.told(checkpoint.tensors, tell, checkpoint.name)


def _with_fields(
    name: str,
    tensors: Mapping[str, Any],
    aliases: Sequence[str],
    stated: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> Detection:
    """How the tensors fit a model, with the fields that are asked for, stated, or shown by names and shapes."""
    fields = {**own_fields(name, stated), **overrides}
    detection = compare(name, tensors, aliases, **fields)
    shown = {key: value for key, value in detection.fields.items() if key not in stated}
    unsure = tuple(key for key in detection.unsure if key not in stated and key not in fields)
    return dataclasses.replace(detection, fields=shown | fields, unsure=unsure)
