"""The model's own parameters that come with an adapter, as PEFT's `modules_to_save` keeps them: heads, biases."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError, some
from jtransfer.weights.adapters.config import Config
from jtransfer.weights.formats.lazy import read
from jtransfer.weights.mapping import Scheme, finder

_COUNTERS = re.compile(r"(.*\.)?num_batches_tracked")


def params(
    tensors: Mapping[str, Any], scheme: Scheme, shapes: Mapping[str, Any], config: Config
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns parameters, by their paths without the collection, and the names of tensors that the model has no use of.

    Args:
      tensors: by the library's names.
      scheme: the library's names.
      shapes: of the model's parameters by path.
      config: what the adapter_config.json says.

    Raises:
      InputError: a tensor has no place, or not this shape; or a module that comes with the adapter has no tensors.
    """
    found, used, ignored = finder(scheme.rows, "source"), {}, []
    for name, tensor in tensors.items():
        assignment = found(name)
        if assignment is None or any(path not in shapes for path in assignment.param_paths):
            if scheme.ignores(name) or _COUNTERS.fullmatch(name):
                ignored += [] if _COUNTERS.fullmatch(name) else [name]
                continue
            raise InputError(f"{config.where}: the tensor {name!r} has no place in this model")
        if any(other not in tensors for other in assignment.source_names):
            raise InputError(f"{config.where}: of {some(assignment.source_names)} only some came with the adapter")
        if assignment.shapes(tensors) != tuple(shapes[path].shape for path in assignment.param_paths):
            want = ", ".join(f"{path} {list(shapes[path].shape)}" for path in assignment.param_paths)
            raise InputError(f"{config.where}: {name} has the shape {list(tensor.shape)}; the model has {want}")
        arrays = assignment.load(*(read(tensors[other]) for other in assignment.source_names))
        for path, array in zip(assignment.param_paths, arrays, strict=True):
            used[path] = np.asarray(array, shapes[path].dtype, order="C")
    _check_whole(used, scheme, shapes, config)
    return used, tuple(ignored)


def _check_whole(used: Mapping[str, Any], scheme: Scheme, shapes: Mapping[str, Any], config: Config) -> None:
    """A module that `modules_to_save` names has all its tensors."""
    ends = tuple(config.fields.get("modules_to_save") or ())
    found = finder(scheme.rows, "params")
    for path in shapes:
        assignment = found(path)
        for name in assignment.source_names[:1] if assignment else ():
            module = name.rpartition(".")[0]
            saved = any(
                module == end or module.endswith(f".{end}") or f".{module}".find(f".{end}.") >= 0 for end in ends
            )
            if saved and path not in used:
                raise InputError(f"{config.where}: modules_to_save names {module}, of which {name} is missing")
