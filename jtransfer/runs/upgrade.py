"""Configs that earlier versions stored in run folders, as today's version writes them."""

import copy
from collections.abc import Mapping
from typing import Any

from jtransfer import generate, models
from jtransfer.core.errors import InputError
from jtransfer.runs.config import VERSION

_PACKINGS = {"apart": "segmented", "joined": "concatenated"}


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run's folder with the names of today's fields; fields that it lacks are not filled in.

    Args:
      stored: the content of `config.json`. A config without `version` is of version 1.

    Raises:
      InputError: it was written by a later version than this one.
    """
    version = stored.get("version", 1)
    if type(version) is not int or version < 1:
        raise InputError(f"the run's config has the version {version!r}, which is none; put a copy of it back")
    if version > VERSION:
        raise InputError(
            f"the run's config is of version {version!r}, this jtransfer reads up to {VERSION}; upgrade it"
        )
    upgraded = _second(copy.deepcopy(dict(stored))) if version < VERSION else dict(stored)
    return {"model_selection": "last"} | upgraded  # what runs were tested with before they could choose


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
