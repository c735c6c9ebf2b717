"""From a checkpoint alone to a filled model: what it is of is read beside it, or told by its names and shapes.

model, variables, report = weights.restore("hf://timm/resnet50.a1_in1k")
"""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer import models
from jtransfer.errors import InputError
from jtransfer.weights import beside, formats, origin, stated
from jtransfer.weights.guess import fit, guess
from jtransfer.weights.load import load
from jtransfer.weights.report import Report
from jtransfer.weights.source import open_source, resolve

_LOAD = ("reinit", "adapt", "classes", "rng", "place")  # what is `load`'s


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
        model that are to differ from the source's (such as `num_classes` or `dtype`), and `reinit`, `adapt`,
        `classes`, `rng`, `place` as for `load`.

    Returns:
      (model, {"params": …, "batch_stats": …} with host arrays, report).

    Raises:
      InputError: there is no such source, no model here fits it, or its tensors don't fit that model.
    """
    options = {key: overrides.pop(key) for key in _LOAD if key in overrides}
    described = describe(source, **overrides)
    return described.model, *load(source, described.model, **options)


def describe(source: str | os.PathLike, *, model: str | None = None, **overrides: Any) -> Described:
    """The model that a source describes, without reading a tensor. Arguments and errors as for `restore`.

    Its own source.json says it, or the config.json beside it (transformers, timm), or its names and shapes.
    """
    own = origin.read(source)
    if own:
        made = origin.create(model or own["model"]["name"], own["model"]["fields"], **overrides)
        return Described(model or own["model"]["name"], made, tuple(own["class_names"]))
    tensors, label = open_source(source)
    files = beside_source(source)
    called = (*beside.names(files), *_stems(source))
    name = model or _registered(files) or getattr(guess(tensors, called), "model", None)
    if name is None:
        said = f"config.json calls it {', '.join(beside.names(files))}; " if beside.names(files) else ""
        raise InputError(f"{label}: no model here has tensors of these names ({said}first {next(iter(tensors))!r})")
    fields = _known(name, stated.fields(files)) | overrides
    fitted = fit(name, tensors, called, **fields)
    unfilled = {key: value for key, value in fitted.fields.items() if key not in fields}
    names = stated.class_names(files)
    made = models.create(name, **unfilled | fields)
    unsure = tuple(key for key in fitted.unsure if key not in fields)
    return Described(name, made, names if len(names) == made.num_classes else (), called, unsure)


def beside_source(source: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """The content of the configuration files beside a source; from the hub, they are fetched."""
    for file in beside.FILES:
        fetch_beside(source, file)
    return beside.read(Path(formats.split(resolve(source))[0]))


def fetch_beside(source: str | os.PathLike, file: str) -> Path | None:
    """The path of a file that lies beside a source, fetched if the source is on the hub; None if there is none."""
    scheme, found, address = str(source).partition("://")
    if found and scheme == "hf":
        try:
            return resolve(f"hf://{address.partition(':')[0]}:{file}")
        except InputError:
            return None
    path = Path(formats.split(resolve(source))[0])
    path = (path if path.is_dir() else path.parent) / file
    return path if path.is_file() else None


def _registered(files: dict[str, dict[str, Any]]) -> str | None:
    """The architecture that timm's config.json names, where it is a name here as well."""
    architecture = str(files.get("config.json", {}).get("architecture", "")).split(".")[0]
    return architecture if architecture in models.names() else None


def _known(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Of the fields, those that the model called `name` has and that differ from its own."""
    usual = models.create(name)
    names = {field.name for field in dataclasses.fields(usual)}
    return {key: value for key, value in fields.items() if key in names and getattr(usual, key) != value}


def _stems(source: str | os.PathLike) -> tuple[str, ...]:
    """What the source's own name says: its file's and its folder's."""
    parts = str(source).replace(":", "/").rstrip("/").split("/")
    return tuple(part.rsplit("-", 1)[0] for part in parts[:-3:-1] if part)
