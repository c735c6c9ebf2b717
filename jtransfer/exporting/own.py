"""A model under our own names: files of tensors, and Orbax checkpoints as a conversion writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jtransfer.core import tree as trees
from jtransfer.weights.save import OWN, WRITERS, to_tensors
from jtransfer.weights.streaming import lazy_param, orbax_writer


def tensors(suffix: str) -> Callable[[Any, Path], None]:
    """Returns the writer of tensors under our own names.

    Args:
      suffix: of the file, "safetensors" or "npz".
    """

    def write(trained: Any, dest: Path) -> None:
        found = to_tensors(trained.variables, trained.spec.model, scheme=OWN)
        WRITERS[suffix](found, dest / f"model.{suffix}")

    return write


def orbax(trained: Any, dest: Path) -> None:
    """Writes an Orbax checkpoint into a folder."""
    with orbax_writer.new(dest) as place:
        for path, array in trees.flatten(trained.variables).items():
            place(path, lazy_param.in_memory(array))
