"""What the JSON files of a run's folder hold, checked: its config, names of its classes, and shapes of its inputs."""

import math
import os
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jtransfer.core.errors import InputError
from jtransfer.runs import config as configs
from jtransfer.runs import json_file, named_code
from jtransfer.runs.json_file import Damaged
from jtransfer.runs.upgrade import upgrade

CONFIG, CLASSES = "config.json", "classes.json"
_SECTIONS = ("data", "model", "optim")  # that every config has
_REMEDY = "put a copy of it back, or move it away and start the run's command again, which then writes it anew"
_MOST = 1 << 32  # bytes of a batch of one, which zeros are made of


class Classes(NamedTuple):
    """What `classes.json` holds.

    Attributes:
      names: the names of the classes, in order.
      inputs: zeros of the shapes of a batch's `inputs`; None for a model that makes a sample itself.
    """

    names: list[str]
    inputs: Any


def raw(folder: str | os.PathLike) -> dict[str, Any]:
    """The content of `config.json` of a run's folder.

    Raises:
      InputError: there is none, or it is damaged.
    """
    path = epath.Path(folder) / CONFIG
    try:
        found = json_file.read(path)
        if missing := [name for name in _SECTIONS if not isinstance(found.get(name), dict)]:
            raise Damaged(f"{path} is damaged: it is no config of a run, without {' and '.join(missing)}")
    except Damaged as error:
        raise Damaged(f"{error}; {_REMEDY}") from None
    return found


def config(folder: str | os.PathLike) -> Any:
    """The complete config of a run's folder, with the names of today's fields.

    Raises:
      InputError: there is none, it is damaged, or it is of a later version; or it names code that is not run
        (`named_code`).
    """
    path = epath.Path(folder) / CONFIG
    stored = raw(folder)
    named_code.check(folder, stored)
    try:
        return configs.complete(upgrade(stored))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise Damaged(f"{path} is damaged: it is no config of a run ({what:.200}); {_REMEDY}") from error


def classes(folder: str | os.PathLike) -> Classes:
    """What `classes.json` of a run's folder holds.

    Raises:
      InputError: there is none, or it is damaged.
    """
    path = epath.Path(folder) / CLASSES
    stored = json_file.read(path)
    names, inputs = stored.get("class_names"), stored.get("inputs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Damaged(f"{path} is damaged: class_names must be a list of texts")
    try:
        return Classes(names, None if inputs is None else _zeros(inputs))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: inputs must be shapes and dtypes ({error!s:.200})") from None


def _zeros(shapes: Any) -> Any:
    """The zeros of shapes and dtypes as `folder.claim` writes them."""
    if not ("shape" in shapes and "dtype" in shapes):
        return {name: _zeros(part) for name, part in shapes.items()}
    shape, dtype = shapes["shape"], np.dtype(shapes["dtype"])
    if not all(type(side) is int and side >= 0 for side in shape) or dtype.kind in "OSUMm":
        raise ValueError(f"{shape!r:.80} of {dtype}")
    if math.prod(shape) * dtype.itemsize > _MOST:
        raise ValueError(f"{shape!r:.80} is too large")
    return np.zeros(shape, dtype)
