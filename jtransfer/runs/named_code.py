"""Code that the config of a run's folder names, such as `network.py:Net`: the folder may be a stranger's.

What a user's command names is the user's. What a folder names is run only if it is the user's, too: a file outside of
the folder, or a module that is found where the user's modules are. Nothing is run that came with the folder, or is
Python's own, or is a function of an installed package where a model is meant.
"""

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath
from flax import linen as nn

from jtransfer import models
from jtransfer.core import registry
from jtransfer.core.errors import InputError
from jtransfer.data.sources import READERS

_SECTIONS = ("modality", "task", "loss.name", "early_stop.metric", "optim.name", "optim.schedule")
_DATA = frozenset((*READERS, "embedded"))


def check(folder: str | os.PathLike, config: Mapping[str, Any]) -> list[str]:
    """Returns the addresses of code that the config of a run's folder names, with the files that they mean.

    Args:
      folder: the run's folder.
      config: as it is stored, of any version.

    Raises:
      InputError: an address leads into the folder, or to what no run needs.
    """
    found = dict.fromkeys(address for address in _named(config) if registry.is_address(address))
    return [f"{address} ({_place(address, epath.Path(folder))})" for address in found]


def named_models(section: Any) -> Iterator[str]:
    """Yields the name of a model, and those of the models that it is made of.

    Args:
      section: the section `model` of a config, or what stands there.
    """
    name, fields = (section.get(key) if isinstance(section, Mapping) else None for key in ("name", "fields"))
    if not isinstance(name, str):
        return
    yield name
    for part, own in models.parts(name, fields if isinstance(fields, Mapping) else {}).values():
        yield from named_models({"name": part, "fields": own})


def check_model(folder: str | os.PathLike, name: str) -> None:
    """Refuses a model's address at which an installed package, or this one, has no module of flax.linen.

    Raises:
      InputError: it has none there, or there is nothing.
    """
    if not registry.is_address(name) or name.rpartition(":")[0].endswith(".py"):
        return
    place = name.rpartition(":")[0]
    spec = importlib.util.find_spec(place.partition(".")[0])
    installed = place.partition(".")[0] == "jtransfer" or _is_below(spec, *_installed())
    if installed and not _is_module(registry.load(name, "model")):
        raise InputError(
            f"{folder}: config.json names {name!r} as the model, which is no class of flax.linen modules; it is not run"
        )


def _is_module(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, nn.Module)


def _named(config: Mapping[str, Any]) -> Iterator[str]:
    """All that may be an address."""
    for section in _SECTIONS:
        yield from _at(config, section.split("."))
    yield from named_models(config.get("model"))
    yield from _data(config)
    for name in _listed(config.get("metrics")):
        yield from _texts(name)
    for entry in _listed(config.get("evals")):
        yield from _at(entry, ["name"])
    for entry in _listed(config.get("phases")):
        yield from _at(entry, ["optim", "name"])
        yield from _at(entry, ["optim", "schedule"])
    for entry in _listed(config.get("trackers")):
        yield from _texts(next(iter(_listed(entry)), None) if isinstance(entry, list | tuple) else entry)
    for term in _listed(config.get("objective")):
        yield from _texts(next(iter(_listed(term)), None))
    for row in _listed(config.get("adapters")):
        yield from (text for part in _listed(row)[1:2] for text in _texts(part))
    teachers = config.get("teachers")
    for teacher in teachers.values() if isinstance(teachers, Mapping) else ():
        yield from _at(teacher, ["model"])
    streams = config.get("streams")
    for stream in streams.values() if isinstance(streams, Mapping) else ():
        yield from (*_at(stream, ["modality"]), *_at(stream, ["task"]), *_data(stream))


def _at(section: Any, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        section = section.get(key) if isinstance(section, Mapping) else None
    yield from _texts(section)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else []


def _data(section: Any) -> Iterator[str]:
    """The data set's name, unless it is of a kind that is read."""
    return (name for name in _at(section, ["data", "name"]) if name.partition(":")[0] not in _DATA)


def _place(address: str, folder: epath.Path) -> str:
    """The file that an address means, or its module where that has none."""
    place = address.rpartition(":")[0]
    remote = "://" in os.fspath(folder)
    inside = "" if remote else os.path.realpath(folder)
    where = f"{folder}: config.json names {address!r:.200}"
    if place.endswith(".py"):
        path = os.path.realpath(os.path.expanduser(place))
        if inside and Path(path).is_relative_to(inside):
            raise InputError(
                f"{where}, which lies in the run's own folder, and code that comes with a run is not run; if it is "
                "yours, move it out of the folder, and name it so in config.json"
            )
        return path
    top = place.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise InputError(f"{where}, which is of Python's own library and no piece of a run; it is not run")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if inside and _is_below(spec, inside):
        raise InputError(
            f"{where}, which lies in the run's own folder, and code that comes with a run is not run; if it is yours, "
            "work in another folder, from which it is found"
        )
    return (spec and spec.origin) or f"module {place}"


def _is_below(spec: Any, *folders: str) -> bool:
    """Whether a module lies in one of some folders."""
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return any(Path(os.path.realpath(place)).is_relative_to(folder) for place in places for folder in folders)


def _installed() -> list[str]:
    return [os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
