"""Configs that earlier versions stored in run folders, as today's version writes them."""

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer import generate, models
from jtransfer.core.errors import InputError
from jtransfer.runs.config import VERSION

_BEGUN_WITHOUT = {
    "": {"model_selection": "last"},
    "image": {"data.image_library": "opencv"},
    "text": {"data.sample_by": "detected"},
}
"""Modality → fields by their path → what its runs did before there was the field; "" is all modalities."""

_PACKINGS = {"apart": "segmented", "joined": "concatenated"}


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run's folder with the names of today's fields; of the fields that it lacks, only those
    are filled in whose default is not what its run did.

    Args:
      stored: the content of `config.json`. A config without `version` is of version 1.

    Raises:
      InputError: it was written by a later version than this one.
    """
    upgraded = _named(stored)
    for path, value in begun_without(stored).items():
        *sections, name = path.split(".")
        functools.reduce(lambda section, key: section.setdefault(key, {}), sections, upgraded)[name] = value
    return upgraded


def begun_without(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by their path that a stored config lacks since there were none then, and what its run did instead.

    Raises:
      InputError: as for `upgrade`.
    """
    named = _named(stored)
    fields = _BEGUN_WITHOUT[""] | _BEGUN_WITHOUT.get(named.get("modality", ""), {})
    return {path: value for path, value in fields.items() if not _has(named, path.split("."))}


def _has(section: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return keys[0] in section and (len(keys) == 1 or _has(section[keys[0]], keys[1:]))


def _named(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with the names of today's fields."""
    version = stored.get("version", 1)
    if type(version) is not int or version < 1:
        raise InputError(f"the run's config has the version {version!r}, which is none; put a copy of it back")
    if version > VERSION:
        raise InputError(
            f"the run's config is of version {version!r}, this jtransfer reads up to {VERSION}; upgrade it"
        )
    copied = copy.deepcopy(dict(stored))
    return _second(copied) if version < VERSION else copied


def _second(config: dict[str, Any]) -> dict[str, Any]:
    """Version 1 → 2."""
    config["version"] = 2
    task = config.get("task") or "images"
    config["modality"] = "image" if task == "images" else "text"
    config["task"] = "classify" if task == "images" else task
    data, model, writing = (config.setdefault(name, {}) for name in ("data", "model", "generate"))
    if "packing" in data:
        data["packing"] = _PACKINGS.get(data["packing"], data["packing"])
    if model.get("name"):
        model["fields"] = models.upgrade_fields(model["name"], model.get("fields", {}))
    if "texts" in writing:
        writing["num_examples"] = writing.pop("texts")
    writing["fields"] = generate.upgrade_fields(writing.get("fields", {}))
    return config
