"""`source.json`: where a converted checkpoint came from, and the model that it fills."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.models.chain import Pixels
from jtransfer.weights import formats
from jtransfer.weights.formats import folders, json_header
from jtransfer.weights.formats.lazy import Malformed
from jtransfer.weights.report import Report
from jtransfer.weights.source import fetch_beside, resolve

FILE = "source.json"


def describe(name: str, model: Any, report: Report, class_names: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `source.json` holds: the origin, the model, and what became of every tensor and every parameter.

    Args:
      name: the model's name.
      model: the model that was filled, and `report` of that.
      class_names: one for each class, or none where the source doesn't say.
    """
    return {
        "source": report.source,
        "scheme": report.scheme,
        "digest": report.digest,
        "model": {"name": name, "fields": fields(name, model)},
        "preprocessing": model.preprocessing,
        "class_names": list(class_names),
        "tensors": dict(report.digests),
        "parameters": {path: list(names) for path, names, _ in report.loaded},
        "reinitialised": dict(report.reinitialised),
        "ignored": dict(report.ignored),
    }


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes the `source.json` of a folder."""
    (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")


def read(source: Any) -> dict[str, Any] | None:
    """The content of the `source.json` of a converted checkpoint; None for any other source.

    Args:
      source: as `weights.resolve` takes it; the folder that has one, or the file in it that holds the weights.

    Raises:
      InputError: there is no such source, or the file is damaged.
    """
    if not isinstance(source, str | os.PathLike):
        return None
    path = fetch_beside(source, FILE)
    if path is None or not _is_of_all(*formats.split(resolve(source))):
        return None
    try:
        match json_header.parse(path.read_bytes()):
            case {"model": {"name": str(), "fields": dict()}, "digest": str(), "class_names": list()} as content:
                return content
    except Malformed:
        pass
    raise InputError(f"{path} is damaged; convert the source again")


def _is_of_all(path: str | os.PathLike, branch: str) -> bool:
    """Is what `path` names all the weights of its folder, not a part of them?"""
    folder, name = os.path.split(os.path.abspath(path))
    try:
        return not branch and (os.path.isdir(path) or os.path.basename(folders.weights_file(folder)) == name)
    except Malformed:
        return False


def digest(source: Any) -> str | None:
    """The digest of the tensors that a converted checkpoint was made of; None for any other source."""
    content = read(source)
    return content and content["digest"]


def fields(name: str, model: Any) -> dict[str, Any]:
    """The fields in which a model differs from what its name gives, as plain data; without the computation's dtype."""
    usual = models.create(name)
    changed = {
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(model)
        if field.name not in ("parent", "name", "dtype") and getattr(model, field.name) != getattr(usual, field.name)
    }
    return {key: dataclasses.asdict(value) if isinstance(value, Pixels) else value for key, value in changed.items()}


def create(name: str, fields: Mapping[str, Any], **overrides: Any) -> Any:
    """The model that `fields` describes; the inverse of the function `fields`.

    Raises:
      InputError: no such model, or no such field.
    """
    held = {key: _tuples(value) for key, value in models.upgrade_fields(name, fields).items()} | overrides
    if isinstance(held.get("pixels"), Mapping):
        known = {field.name for field in dataclasses.fields(Pixels)}
        held["pixels"] = Pixels(**{key: _tuples(value) for key, value in held["pixels"].items() if key in known})
    if "dtype" in held:
        held["dtype"] = jnp.dtype(held["dtype"])
    return models.create(name, **held)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
