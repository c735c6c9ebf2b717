"""What a run on texts needs beside its data: the tokenizer's files, and a model that fits them."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
from etils import epath

from jtransfer import data, generate, models, weights
from jtransfer.core import config as configs
from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities import text
from jtransfer.modalities.text import tokenizers
from jtransfer.runs import folder as workdir
from jtransfer.tasks import TASKS
from jtransfer.weights.identify import manifest, sidecar_files
from jtransfer.weights.source import fetch_beside

PACKINGS = ("apart", "joined")
FOLDER = "tokenizer"  # in a run's folder


def tokenizer(config: Any, folder: str | os.PathLike) -> Any:
    """The tokenizer of a run: the one in its folder, else that of `data.tokenizer`, else that of `init`.

    Raises:
      InputError: there are no files of a tokenizer.
    """
    for place in (folder, config.init):
        if found := kept(place):
            return tokenizers.open(found)
    source = config.data.tokenizer or config.init
    if source == "scratch":
        raise InputError("texts need a tokenizer: give data.tokenizer a folder or an address such as hf://org/name")
    found = [path for name in sidecar_files.TOKENIZER if (path := fetch_beside(source, name))]
    if not found:
        raise InputError(f"{source} has no tokenizer's files beside it; give data.tokenizer a folder that has")
    return tokenizers.open(found[0].parent)


def kept(folder: str | os.PathLike) -> Path | None:
    """The tokenizer's files in a run's folder, fetched where that is in a bucket; None where it has none."""
    place = workdir.place_of(folder)
    return weights.resolve(os.fspath(place / FOLDER)) if place and (place / FOLDER).is_dir() else None


def keep(found: Any, folder: str | os.PathLike) -> None:
    """Copies the tokenizer's files into a run's folder, so that the run can be used without their source."""
    dest, source = epath.Path(folder) / FOLDER, Path(found.path)
    if jax.process_index() != 0 or dest.is_dir():
        return
    partial, source = dest.with_name(f"{FOLDER}.part"), source if source.is_dir() else source.parent
    partial.mkdir(exist_ok=True)
    for name in sidecar_files.TOKENIZER:
        if (source / name).is_file():
            (partial / name).write_bytes((source / name).read_bytes())
    partial.rename(dest)


def describe(config: Any, task: str, tokenizer: Any, num_classes: int) -> Any:
    """The config with the task and the model's name and fields filled in: those of the weights where the name is empty,
    the head by the task, and the vocabulary of a new model by the tokenizer."""
    wanted = TASKS[task].head
    name, fields = config.model.name, config.model.fields.to_dict()
    if not name and config.init == "scratch":
        raise InputError("model.name is empty: give one, or weights in init")
    if not name:
        name, fields = _described(config.init, wanted, num_classes, fields)
    elif tokenizer is not None and not models.of_images(name):
        usual = models.create(name)
        if task in ("lm", "seq2seq") and getattr(usual, "head", "lm") != "lm":
            raise InputError(f"model.name={name!r} is no model for task={task!r}, which needs one that generates")
        if wanted and hasattr(usual, "head"):
            fields.setdefault("head", wanted)
        if config.init == "scratch":
            fields.setdefault("vocabulary", max(tokenizer.vocabulary, usual.vocabulary))
    writes = TASKS[task].writes and _generation(config, task) | config.generate.fields.to_dict()
    config = config.copy_and_resolve_references().unlock()
    config.generate.fields = type(config)(writes or {})
    config.task = task
    config.model.name = name
    config.model.fields = type(config)(fields)
    return config.lock()


def _described(source: str, head: str, num_classes: int, fields: dict) -> tuple[str, dict]:
    """The name and fields of a source's model, with the head that the task wants where it has one to choose."""
    if workdir.is_run(source):
        model = configs.complete(workdir.read_json(epath.Path(source) / "config.json")).model
        chosen = {"head": head} if head and hasattr(models.create(model.name), "head") else {}
        return model.name, model.fields.to_dict() | chosen | fields
    described = weights.describe(source, num_classes=num_classes, **(({"head": head} if head else {}) | fields))
    fields = manifest.fields(described.name, described.model)
    return described.name, {key: value for key, value in fields.items() if key not in ("num_classes", "channels")}


def _generation(config: Any, task: str) -> dict[str, Any]:
    """What the weights' own files say of how to write, but for the length; nothing for another tokenizer's weights."""
    if config.init == "scratch" or config.data.tokenizer not in ("", config.init):
        return {}
    if workdir.is_run(config.init):
        kept = configs.complete(workdir.read_json(epath.Path(config.init) / "config.json"))
        return kept.generate.fields.to_dict() if kept.task == task else {}
    found = dataclasses.asdict(generate.read(config.init, encoder_decoder=task == "seq2seq"))
    usual = dataclasses.asdict(generate.Settings())
    return {name: value for name, value in found.items() if value != usual[name] and name != "max_new_tokens"}


def check_length(config: Any, model: Any) -> None:
    """InputError where the texts of a run may be longer than its model takes."""
    places = getattr(model, "length", None)
    given = {"length": config.data.length}
    if config.task == "seq2seq":
        given["target_length"] = config.data.target_length
    for name, length in given.items():
        if places and length > places:
            raise InputError(f"data.{name}={length} is more than the model's {places} positions; give at most {places}")


def packs(config: Any) -> bool:
    """Do the texts of a run share rows?"""
    return config.task == "lm" and config.data.packing != ""


def pack(config: Any, sources: dict[str, data.Source], tokenizer: Any) -> dict[str, data.Source]:
    """The sources of a run; of one that packs, rows of texts.

    Raises:
      InputError: there is no such way to pack, or there are no tokens.
    """
    if config.data.packing not in ("", *PACKINGS):
        raise unknown("data.packing", config.data.packing, PACKINGS)
    if not packs(config):
        return sources
    return {split: text.packed(source, tokenizer, config.data.length) for split, source in sources.items()}


def report(source: data.Source, pipeline: text.TextPipeline, tokenizer: Any, model: Any, rows: int) -> None:
    """Prints what becomes of the texts, and of how many rows they make; raises where they or the tokenizer misfit."""
    line = tokenizers.check(tokenizer, model.vocabulary)
    found = text.survey(source, pipeline)
    if jax.process_index() == 0:
        packing = [f"packed into {rows:,} rows"] if rows != len(source) else []
        print("\n".join([", ".join([str(found), *packing]), *([line] if line else [])]), flush=True)
