"""From a checkpoint alone to a filled model: what it is of is read beside it, or told by its names and shapes.

model, variables, report = weights.restore("hf://timm/resnet50.a1_in1k")
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.identify import hf_config, manifest, sidecar_files
from jtransfer.weights.identify.detect import Guess, fit, guess, own_fields
from jtransfer.weights.load import load
from jtransfer.weights.report import Report
from jtransfer.weights.source import fetch_beside, open_source, resolve

_LOAD = ("reinit", "adapt", "classes", "sides", "rng", "place")  # what is `load`'s


class Described(NamedTuple):
    """A model that a source describes.

    Attributes:
      name: the registered model it is built on.
      model: with the source's structure, number of classes, input size and preprocessing.
      class_names: of its head, in order; none where the source doesn't say.
      called: what the source calls itself, such as timm's "resnet50.a1_in1k".
      unsure: fields that can't be told from the source and have the model's own values.
    """

    name: str
    model: Any
    class_names: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def restore(source: str | os.PathLike, **overrides: Any) -> tuple[Any, dict, Report]:
    """The model that a source describes, its variables, and the report of the load.

    Args:
      source: as `resolve` takes it: any checkpoint that is read, or a folder that `convert` wrote.
      **overrides: `model` (a name of `models.names()`, where the source's own is not to be trusted), the fields of the
        model that are to differ from the source's (such as `num_classes`, `image_size` or `dtype`), `classes` (names
        of new classes: the head keeps what it knows of those that are the source's, too), and `reinit`, `adapt`,
        `sides` (where the source doesn't say it), `rng`, `place` as for `load`.

    Returns:
      (model, {"params": …, "batch_stats": …} with host arrays, report).

    Raises:
      InputError: there is no such source, no model here fits it, or its tensors don't fit that model.
    """
    options = {key: overrides.pop(key) for key in _LOAD if key in overrides}
    if "classes" in options:
        options["classes"] = class_names(source), tuple(options["classes"])
        overrides.setdefault("num_classes", len(options["classes"][1]))
    if options.get("adapt"):
        options.setdefault("sides", sides(source))
    described = describe(source, **overrides)
    return described.model, *load(source, described.model, **options)


def describe(source: str | os.PathLike, *, model: str | None = None, **overrides: Any) -> Described:
    """The model that a source describes, without reading a tensor. Arguments and errors as for `restore`.

    Its own source.json says it, or the config.json beside it (transformers, timm), or its names and shapes.
    """
    own = manifest.read(source)
    if own:
        made = manifest.create(model or own["model"]["name"], own["model"]["fields"], **overrides)
        return Described(model or own["model"]["name"], made, tuple(own["class_names"]))
    tensors, label = open_source(source)
    files = beside_source(source)
    called = calls(source, files)
    found = recognise(tensors, files, called, model, **overrides)
    if found is None:
        said = f"config.json calls it {', '.join(sidecar_files.names(files))}; " if sidecar_files.names(files) else ""
        raise InputError(f"{label}: no model here has tensors of these names ({said}first {next(iter(tensors))!r})")
    names = hf_config.class_names(files)
    made = models.create(found.model, **found.fields)
    return Described(found.model, made, names if len(names) == made.num_classes else (), called, found.unsure)


def class_names(source: str | os.PathLike) -> tuple[str, ...]:
    """The names of the classes of a source's head, in order.

    Raises:
      InputError: neither its source.json nor its config.json names them.
    """
    own = manifest.read(source)
    names = tuple(own["class_names"]) if own else hf_config.class_names(beside_source(source))
    if not names:
        raise InputError(f"{source}: no file beside it names its classes; load it with classes=(its, yours)")
    return names


def sides(source: str | os.PathLike) -> tuple[int, int] | None:
    """Height and width of the images that a source's model takes, in pixels; None where no file says it."""
    own = manifest.read(source)
    size = (own["model"]["fields"] if own else hf_config.fields(beside_source(source))).get("image_size")
    return (size, size) if isinstance(size, int) else size and tuple(size)


def recognise(
    tensors: Mapping[str, Any],
    files: Mapping[str, Any],
    called: Sequence[str],
    model: str | None = None,
    **overrides: Any,
) -> Guess | None:
    """The model that the tensors and the files beside them are of, with all fields; None where none is like them.

    Args:
      tensors: names → anything with a shape.
      files: as `beside_source` gives them.
      called: as `calls` gives it.
      model, **overrides: a name and fields that win over the source's.

    Raises:
      InputError: the files state what no model here has.
    """
    told = hf_config.fields(files)
    names = [model] if model else hf_config.names(files, called)
    if len(names) != 1:
        found = guess(tensors, called, told, names)
        names = [found.model] if found else []
    if not names:
        return None
    fields = own_fields(names[0], told) | overrides
    fitted = fit(names[0], tensors, called, **fields)
    seen = {key: value for key, value in fitted.fields.items() if key not in told}
    unsure = tuple(key for key in fitted.unsure if key not in told | fields)
    return dataclasses.replace(fitted, fields=seen | fields, unsure=unsure)


def calls(source: str | os.PathLike, files: Mapping[str, Any]) -> tuple[str, ...]:
    """What a source is called: in the files beside it, and by its own name, which is its file's and its folder's."""
    parts = str(source).replace(":", "/").rstrip("/").split("/")
    return (*sidecar_files.names(files), *(part.rsplit("-", 1)[0] for part in parts[:-3:-1] if part))


def beside_source(source: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """The content of the configuration files beside a source; from the hub, they are fetched."""
    for file in sidecar_files.FILES:
        fetch_beside(source, file)
    return hf_config.with_config(sidecar_files.read(Path(formats.split(resolve(source))[0])))
