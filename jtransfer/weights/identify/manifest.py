"""`source.json`: where a converted checkpoint came from, and the model that it fills."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jtransfer import models
from jtransfer.core import registry
from jtransfer.core.errors import InputError
from jtransfer.core.tree import as_tuples
from jtransfer.models.chain import Pixels
from jtransfer.weights import schema
from jtransfer.weights.formats import choice, json_header
from jtransfer.weights.formats.lazy import Malformed
from jtransfer.weights.identify import model_fields
from jtransfer.weights.report import Report

FILE = "source.json"
VERSION = 2  # of its content; the first had none

_RESIZE = re.compile(r"\b(resize\w*\((?:(?!'pillow'|'opencv')[^()]|\([^()]*\))*)\)")


def describe(name: str, model: Any, report: Report, class_names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the content of `source.json`: the origin, the model, and what became of every tensor and parameter.

    Args:
      name: the model's name in `models.names()`.
      model: the model that was filled.
      report: of the load that filled it.
      class_names: the names of the head's classes, or none where the source doesn't say.
    """
    return {
        "version": VERSION,
        "source": report.source,
        "scheme": report.scheme,
        "digest": report.digest,
        "model": {"name": name, "fields": fields(name, model)},
        "preprocessing": getattr(model, "preprocessing", {}),
        "class_names": list(class_names),
        "tensors": dict(report.digests),
        "parameters": {path: list(names) for path, names, _ in report.loaded},
        "reinitialised": dict(report.reinitialised),
        "ignored": dict(report.ignored),
    }


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes `source.json` into a folder."""
    (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Returns the content of a `source.json`.

    Raises:
      InputError: the file is damaged.
    """
    try:
        content = _USUAL | json_header.read(path)
        schema.check(content, _KINDS, FILE)
        schema.check(content["preprocessing"], _PREPROCESSING, f"{FILE}: preprocessing")
        schema.check(content["model"], {"name": schema.TEXT, "fields": schema.OBJECT}, f"{FILE}: model")
        if {"name", "fields"} <= content["model"].keys():
            return content if "version" in content else _upgraded(content)
        raise Malformed("the model has no name and fields")
    except (Malformed, InputError) as error:
        raise InputError(f"{path} is damaged; convert the source again ({error})") from None


_USUAL = {"model": {}, "digest": None, "class_names": None, "source": "", "scheme": "", "preprocessing": {}}
_KINDS = {
    "model": schema.OBJECT,
    **dict.fromkeys(("digest", "scheme"), schema.TEXT),
    "source": schema.text(10_000),
    "class_names": schema.many(schema.text(10_000), 0, 1 << 24),
    "preprocessing": schema.OBJECT,
}
_CHANNELS = schema.many(schema.number(-1e6, 1e6), 0, 4096)
_PREPROCESSING = {
    **dict.fromkeys(("mean", "std"), _CHANNELS),
    "crop": schema.number(0.001, 1000),
    "interpolation": schema.TEXT,
    "transform": schema.optional(schema.text(100_000)),
    "rounding": schema.TEXT,
    "size": schema.SIDES,
}


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """The content of the first version, in which OpenCV resizes where a transform of images names no library."""
    for section in (content["model"]["fields"].get("pixels"), content.get("preprocessing")):
        if isinstance(section, dict) and isinstance(text := section.get("transform"), str):
            section["transform"] = _RESIZE.sub(r"\1, library='opencv')", text)
    return content


def covers(path: str | os.PathLike, subtree: str) -> bool:
    """Returns whether a `source.json` in the folder of some weights speaks of these weights.

    It does if they are all the weights of the folder. It does not if they are one of several files, or a sub-tree.

    Args:
      path: the file or the folder of the weights.
      subtree: the part of their tree that is meant, or "".
    """
    folder, name = os.path.split(os.path.abspath(path))
    try:
        return not subtree and (os.path.isdir(path) or choice.choose(os.listdir(folder)) == name)
    except Malformed:
        return False


def fields(name: str, model: Any) -> dict[str, Any]:
    """Returns the fields in which a model differs from the model of its name, as plain data.

    The dtype of the computation is left out.

    Args:
      name: the model's name in `models.names()`.
      model: the model.
    """
    if hasattr(model, "parts_of"):
        return model.description()
    usual = models.create(name)
    changed = {
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(model)
        if field.name not in ("parent", "name", "dtype") and getattr(model, field.name) != getattr(usual, field.name)
    }
    return {key: _plain(value) for key, value in changed.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return dataclasses.asdict(value) if isinstance(value, Pixels) else value


def model(content: Mapping[str, Any]) -> Any:
    """Returns the model of a `source.json`; None where that is code from elsewhere."""
    name = content["model"]["name"]
    return None if registry.is_address(name) else create(name, content["model"]["fields"])


def create(name: str, fields: Mapping[str, Any], **overrides: Any) -> Any:
    """Returns the model that a `source.json` describes; the inverse of the function `fields`.

    Args:
      name: the model's name in `models.names()`.
      fields: in which it differs from the model of that name, as plain data.
      **overrides: fields that win over these.

    Raises:
      InputError: there is no such model, or no such field.
    """
    for one, own in (models.parts(name, fields) or {"": (name, fields)}).values():
        if one and not registry.is_address(one):
            model_fields.check(type(models.create(one)), own, FILE)
    known = {key: as_tuples(value) for key, value in models.upgrade_fields(name, fields).items()} | overrides
    if isinstance(known.get("pixels"), Mapping):
        names = {field.name for field in dataclasses.fields(Pixels)}
        known["pixels"] = Pixels.of({key: value for key, value in known["pixels"].items() if key in names})
    if "dtype" in known:
        known["dtype"] = jnp.dtype(known["dtype"])
    return models.create(name, **known)
