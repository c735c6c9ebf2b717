"""A run's folder: what is written into it besides metrics and checkpoints, and the check that it is this run's."""

import contextlib
import datetime
import importlib.metadata
import itertools
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeGuard

import jax
import numpy as np
from etils import epath

from jtransfer import models
from jtransfer.core import bucket, process_log, source_code, whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.place import place_of
from jtransfer.core.show import say
from jtransfer.runs import config as configs
from jtransfer.runs import filling, fingerprint, json_file, lock, log_lines, predictions, stored
from jtransfer.runs.upgrade import begun_without

ENVIRONMENT, DIFF = "environment.json", "source.diff"
_ABSENT = object()
_PARTS = (stored.CONFIG, stored.CLASSES, ENVIRONMENT, log_lines.FILE, predictions.FILE, fingerprint.FILE)
AUTO, TRIED = "auto", "tried.json"  # the folder of the runs by which the config was chosen; what they came to
_BEFORE = frozenset(
    (f"{stored.CONFIG}.tmp", lock.FILE, AUTO, process_log.FOLDER)
)  # what a folder may hold before its config
_FILES = r"folder|npz|csv|parquet|jsonl|parallel|text"  # kinds of data whose names hold a path
_PLACE = re.compile(rf"(streams\.\w+\.)?data\.(name: '({_FILES}):.*' → '\3:.*'|(dir|image_dir): .*)|feature_cache: .*")
_PACKAGES = ("jtransfer", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def is_run(source: Any) -> TypeGuard[str | os.PathLike]:
    """Returns whether a path or an address is the folder of a run; an open checkpoint, for instance, is not."""
    if not isinstance(source, str | os.PathLike) or (place := place_of(source)) is None:
        return False
    with bucket.reaching(source):
        return (place / "checkpoints").exists()


Judge = Callable[[dict[str, Any], dict[str, Any]], tuple[list[str], list[str]]]


def check(workdir: str | os.PathLike, config: Any, judge: Judge | None = None) -> list[str]:
    """Is the folder new, empty, or a run of the same config?

    Args:
      workdir: the run's folder.
      config: the complete config.
      judge: Of two configs as plain dicts, the stored one and this one, tells the differences that are taken and those
        that are not, a line each; None takes none.

    Returns:
      The differences that are taken, without where the data lie.

    Raises:
      InputError: the folder holds a run of another config (the text lists the differences), or something else.
    """
    folder = epath.Path(workdir)
    path = folder / stored.CONFIG
    if not folder.is_dir() and (why := whole_file.problem(folder)) != "is missing":
        raise InputError(f"{workdir} {why or 'is a file'}; give a folder")
    _check_parts(folder)
    if path.exists():
        taken, refused = (judge or _none)(_comparable(stored.config(folder)), _comparable(config))
        if moved := [line for line in refused if _is_place(line)] if (folder / fingerprint.FILE).exists() else []:
            refused = [line for line in refused if line not in moved]
        if refused:
            raise InputError(f"{workdir} holds a run of another config; take another workdir. " + "; ".join(refused))
        return taken
    elif folder.exists() and not _is_begun(folder) and any(found.name not in _BEFORE for found in folder.iterdir()):
        raise InputError(f"{workdir} is not empty and holds no run (no config.json); take another workdir")
    return []


def _none(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], list[str]]:
    return [], filling.differences(old, new)


def _is_begun(folder: epath.Path) -> bool:
    """Whether a run was begun here, whose damaged config was moved away."""
    return all((folder / name).exists() for name in ("checkpoints", stored.CLASSES, log_lines.FILE))


def _check_parts(folder: epath.Path) -> None:
    """Refuses what is no file where a run has one, and a log that is damaged."""
    for name in _PARTS:
        if (why := whole_file.problem(folder / name)) not in ("", "is missing"):
            raise InputError(f"{folder / name} {why}; move it away")
    with contextlib.suppress(FileNotFoundError):
        log_lines.read(folder)


def _changes(folder: epath.Path, config: Any) -> list[str]:
    return filling.differences(_comparable(stored.config(folder)), _comparable(config))


def _is_place(change: str) -> bool:
    """Whether a difference of two configs is where the data lie, and not what is read; they may have been moved."""
    return _PLACE.fullmatch(change) is not None


def as_begun(workdir: str | os.PathLike, config: Any) -> Any:
    """The config with the fields of a run in the folder that it was begun without, as it was begun.

    An earlier version began it, and what it did is what it goes on with, whatever the config's default is today.
    """
    path = epath.Path(workdir) / stored.CONFIG
    missing = {} if whole_file.problem(path) == "is missing" else begun_without(stored.raw(workdir))
    if not missing:
        return config
    full = configs.complete(config).copy_and_resolve_references().unlock()
    full.update_from_flattened_dict(missing)
    return full


def model_as_begun(workdir: str | os.PathLike, config: Any, given: Collection[str]) -> tuple[Any, list[str]]:
    """The config with the model of the run in the folder where only the source's files state another one today.

    An earlier version began it, which did not look at all that they state.

    Args:
      workdir: the run's folder; one without a run changes nothing.
      config: the complete config.
      given: the names of the model's fields that the config gives of its own; they are not changed.

    Returns:
      The config, and a line for each field that stays as it was.
    """
    if whole_file.problem(epath.Path(workdir) / stored.CONFIG) == "is missing":
        return config, []
    begun, new = (_comparable(found)["model"] for found in (stored.config(workdir), config))
    usual, fields = models.create(new["name"]) if new["name"] in models.names() else None, config.model.fields.to_dict()
    lines = []
    for name, value in new["fields"].items() if begun["name"] == new["name"] and usual else ():
        before = begun["fields"].get(name, getattr(usual, name, _ABSENT))
        if name not in given and before not in (value, _ABSENT):
            fields = {key: field for key, field in fields.items() if key != name}
            fields |= {name: before} if name in begun["fields"] else {}
            lines.append(f"model.fields.{name} stays {before!r}, as the run was begun; its source states {value!r}")
    if not lines:
        return config, []
    full = config.copy_and_resolve_references().unlock()
    full.model.fields = type(full)(fields)
    return full.lock(), lines


def _comparable(config: Any) -> dict[str, Any]:
    """A config as plain JSON in which every field stands, those that only repeat the model's own default left out."""
    full = json.loads(configs.complete(config).to_json())
    usual = models.create(full["model"]["name"]) if full["model"]["name"] in models.names() else None
    fields = full["model"]["fields"].items()
    full["model"]["fields"] = {name: value for name, value in fields if getattr(usual, name, _ABSENT) != value}
    for name in ("verdict", "export"):  # what is done when the run has ended
        del full[name]
    return full


def claim(workdir: str | os.PathLike, config: Any, class_names: Sequence[str], inputs: Any = None) -> None:
    """Makes the folder and writes `config.json`, which makes it this run's, `environment.json`, `classes.json`
    and, where the code differs from its commit, `source.diff`.

    Process 0 writes. A `config.json` that is there already stays as it is, unless the data lie elsewhere now.

    Args:
      workdir: the run's folder.
      config: the complete config.
      class_names: in order.
      inputs: zeros of the shapes of a batch's `inputs`, where the model does not make a sample itself.

    Raises:
      InputError: the folder can't be made.
    """
    if jax.process_index() == 0:
        folder = epath.Path(workdir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{workdir} cannot be made: {error.strerror}") from None
        if (folder / stored.CONFIG).exists():
            changed = _changes(folder, config)
            if moved := [line for line in changed if _is_place(line)]:
                say(f"the data are the same as before: {'; '.join(moved)}")
            if moved == changed != []:
                json_file.write(folder / stored.CONFIG, json.loads(config.to_json()))
        else:
            if _is_begun(folder):
                say(f"{folder / stored.CONFIG} is missing, and is written anew: it is this command's")
            json_file.write(folder / stored.CONFIG, json.loads(config.to_json()))
        shapes = {} if inputs is None else {"inputs": jax.tree.map(_shape, inputs)}
        _write_anew(folder / ENVIRONMENT, _environment() | _source(folder), json_file.read)
        classes = {"class_names": list(class_names), **shapes}
        _write_anew(folder / stored.CLASSES, classes, lambda path: stored.classes(path.parent))


def change(workdir: str | os.PathLike, config: Any) -> None:
    """Writes the config of a run that goes on with another one; that before is kept as `config.1.json`, and so on.

    Process 0 writes.
    """
    if jax.process_index() == 0:
        path = epath.Path(workdir) / stored.CONFIG
        names = (path.with_name(f"config.{number}.json") for number in itertools.count(1))
        whole_file.write(next(name for name in names if not name.exists()), whole_file.read(path))
        json_file.write(path, json.loads(config.to_json()))


def _write_anew(path: epath.Path, value: Any, read: Callable[[epath.Path], Any]) -> None:
    """Writes a file that can be made again; a damaged one is kept under another name, which is told."""
    if path.exists():
        try:
            read(path)
        except InputError as error:
            say(f"{error}; it is kept as {_put_aside(path)}, and written anew")
    json_file.write(path, value)


def _shape(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": array.dtype.name}


def _put_aside(path: epath.Path) -> str:
    """Renames a damaged file, and returns its new name."""
    taken = (path.with_name(f"{path.name}.damaged{number or ''}") for number in itertools.count())
    aside = next(new for new in taken if not os.path.lexists(new))
    path.rename(aside)
    return aside.name


def _environment() -> dict[str, Any]:
    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{len(devices)} × {devices[0].device_kind}",
        "processes": jax.process_count(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _source(folder: epath.Path) -> dict[str, Any]:
    """The commit of the working tree that the command is run in, and, if that has none, of the package; the difference
    to it is written."""
    found = source_code.of(os.getcwd()) or source_code.of(os.path.dirname(__file__))
    if found is None:
        return {}
    if found.diff or (folder / DIFF).exists():
        (folder / DIFF).write_text(found.diff)
    return {"source": {"commit": found.commit, "remote": found.remote, "changed": bool(found.diff), "new": found.new}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
