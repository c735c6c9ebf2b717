"""A run's folder: what is written into it besides metrics and checkpoints, and the check that it is this run's."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeGuard

import jax
import numpy as np
from etils import epath

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.core.place import place_of
from jtransfer.runs import config as configs
from jtransfer.runs import filling
from jtransfer.runs.upgrade import upgrade

_ABSENT = object()
_PACKAGES = ("jtransfer", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def is_run(source: Any) -> TypeGuard[str | os.PathLike]:
    """Returns whether a path or an address is the folder of a run; an open checkpoint, for instance, is not."""
    return (
        isinstance(source, str | os.PathLike)
        and (place := place_of(source)) is not None
        and (place / "checkpoints").exists()
    )


def check(workdir: str | os.PathLike, config: Any) -> None:
    """Is the folder new, empty, or a run of the same config?

    Raises:
      InputError: the folder holds a run of another config (the text lists the differences), or something else.
    """
    folder = epath.Path(workdir)
    path = folder / "config.json"
    if path.exists():
        changed = filling.differences(_comparable(upgrade(read_json(path))), _comparable(config))
        if changed:
            raise InputError(f"{workdir} holds a run of another config; take another workdir. " + "; ".join(changed))
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"{workdir} is a file; give a folder")
    elif folder.exists() and any(found.name != _new(path).name for found in folder.iterdir()):
        raise InputError(f"{workdir} is not empty and holds no run (no config.json); take another workdir")


def as_begun(workdir: str | os.PathLike, config: Any) -> Any:
    """The config with the fields of a run in the folder that it was begun without, as it was begun.

    An earlier version began it, and its model is its last checkpoint, whatever the config's default is today.
    """
    path = epath.Path(workdir) / "config.json"
    if not path.exists() or "model_selection" in read_json(path):
        return config
    full = configs.complete(config).copy_and_resolve_references().unlock()
    full.model_selection = "last"
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
    path = epath.Path(workdir) / "config.json"
    if not path.exists():
        return config, []
    begun, new = (_comparable(found)["model"] for found in (upgrade(read_json(path)), config))
    usual, fields = models.create(new["name"]) if new["name"] in models.names() else None, config.model.fields.to_dict()
    lines = []
    for name, value in new["fields"].items() if begun["name"] == new["name"] and usual else ():
        before = begun["fields"].get(name, getattr(usual, name, _ABSENT))
        if name not in given and before not in (value, _ABSENT):
            fields = {key: field for key, field in fields.items() if key != name}
            fields |= {name: before} if name in begun["fields"] else {}
            lines.append(f"model.fields.{name} stays {before!r}, as the run was begun; its source states {value!r}")
    full = config.copy_and_resolve_references().unlock()
    full.model.fields = type(full)(fields)
    return (full.lock(), lines) if lines else (config, [])


def _comparable(config: Any) -> dict[str, Any]:
    """A config as plain JSON in which every field stands, those that only repeat the model's own default left out."""
    full = json.loads(configs.complete(config).to_json())
    usual = models.create(full["model"]["name"]) if full["model"]["name"] in models.names() else None
    fields = full["model"]["fields"].items()
    full["model"]["fields"] = {name: value for name, value in fields if getattr(usual, name, _ABSENT) != value}
    return full


def claim(workdir: str | os.PathLike, config: Any, class_names: Sequence[str], inputs: Any = None) -> None:
    """Makes the folder and writes `config.json`, which makes it this run's, `environment.json` and `classes.json`.

    Process 0 writes. A `config.json` that is there already stays as it is.

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
        if not (folder / "config.json").exists():
            write_json(folder / "config.json", json.loads(config.to_json()))
        write_json(folder / "environment.json", _environment())
        shapes = {} if inputs is None else {"inputs": jax.tree.map(_shape, inputs)}
        write_json(folder / "classes.json", {"class_names": list(class_names), **shapes})


def _shape(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": array.dtype.name}


def zeros(shapes: Any) -> Any:
    """The zeros whose shapes and dtypes `classes.json` has as `inputs`."""
    if "shape" in shapes and "dtype" in shapes:
        return np.zeros(shapes["shape"], shapes["dtype"])
    return {name: zeros(part) for name, part in shapes.items()}


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file of a run's folder; InputError if it is not there or no JSON."""
    path = epath.Path(path)
    if not path.exists():
        raise InputError(f"{path.parent} is not the folder of a run: {path.name} is missing")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Replaces a file as a whole."""
    path = epath.Path(path)
    new = _new(path)
    new.write_text(json.dumps(value, indent=2, default=str) + "\n")
    new.replace(path)


def _new(path: epath.Path) -> epath.Path:
    return path.with_name(path.name + ".tmp")


def write_predictions(workdir: str | os.PathLike, predictions: Mapping[str, Any]) -> None:
    """`predictions.npz`: `probs` float32 [N, C], `label` int32 [N], `index` int64 [N]. Process 0 writes."""
    if jax.process_index() == 0:
        new = epath.Path(workdir) / "predictions.tmp.npz"
        with new.open("wb") as file:
            np.savez(file, **predictions)
        new.replace(new.with_name("predictions.npz"))


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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
