"""What is fused: the models of runs, checkpoints, and adapters on a base, as tensors that are read one by one."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer import peft, weights
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.runs import folder as folders
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run
from jtransfer.training import checkpoint
from jtransfer.training.state import AUXILIARY
from jtransfer.weights.adapters import attach as attaching
from jtransfer.weights.adapters.config import FILE as ADAPTER
from jtransfer.weights.shapes import abstract, example

_MERGED = ("adapters", "quantized")  # collections that become a part of the parameters


class Leaf(NamedTuple):
    """One of a model's variables.

    Attributes:
      shape, dtype: Of the array.
      read: A function that reads it.
      release: A function that gives back what reading it has mapped.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    release: Callable[[], None]


class Source(NamedTuple):
    """A model that is fused.

    Attributes:
      name: Its address.
      spec: The model, and the names of its classes.
      leaves: Full path, such as "params/stem/conv/kernel" → leaf.
      run: The run that it is of, if it is of one.
      files: The folder or the checkpoint whose tokenizer's and processor's files lie beside it.
      notes: What was done with it, for people.
      adapted: Whether it is an adapter, merged into the base.
    """

    name: str
    spec: weights.ModelSpec
    leaves: Mapping[str, Leaf]
    run: StoredRun | None = None
    files: weights.Source = ""
    notes: tuple[str, ...] = ()
    adapted: bool = False

    @property
    def described_by(self) -> str:
        """The address that says what the model is of: that of an adapter's base, else its own."""
        if self.run:
            return os.fspath(self.run.folder)
        return self.files.name if isinstance(self.files, weights.Checkpoint) else self.name

    @property
    def sample(self) -> Any:
        """Zeros of the shapes of the model's input, of a model that does not make a sample itself; else None."""
        return self.run.sample if self.run and self.run.inputs is not None else None


def open(address: str | os.PathLike, *, step: int | str | None = None, base: str | os.PathLike = "") -> Source:
    """Opens a model.

    Args:
      address: The folder of a run; any weights, as `config.init` takes them; or the folder of an adapter of Hugging
        Face's PEFT, which is merged into the base.
      step: Of a run, as `StoredRun.variables` takes it.
      base: What an adapter is of.

    Raises:
      InputError: There is no such source, or it is an adapter without a base.
    """
    if folders.is_run(address):
        return _of_run(address, step)
    opened = weights.open(address)
    return _of_adapter(address, base) if opened.file(ADAPTER) else _of_weights(opened)


def steps_of(folder: str | os.PathLike) -> list[int]:
    """Returns the steps of the checkpoints that a run holds, the earliest first.

    Raises:
      InputError: It is the folder of no run, or the run holds one checkpoint only.
    """
    if not folders.is_run(folder):
        raise InputError(f"{folder} is not the folder of a run, whose checkpoints are averaged")
    found = checkpoint.steps(folder)
    if len(found) < 2:
        raise InputError(
            f"{folder} holds {len(found)} checkpoint; an average takes two: train with a greater config.keep"
        )
    return found


def _of_run(folder: str | os.PathLike, step: int | str | None) -> Source:
    run = open_run(folder)
    lazy = checkpoint.lazy_params(folder, run.step(step))
    held = {path: tensor for path, tensor in lazy.items() if path.partition("/")[0] not in AUXILIARY}
    notes: tuple[str, ...] = ()
    if any(path.partition("/")[0] in _MERGED for path in held):
        leaves = in_memory(run.merged(step))
        notes = (f"{folder}: its adapters are merged into its parameters",)
    else:
        leaves = {path: Leaf(tuple(tensor.shape), tensor.dtype, tensor.read, _nothing) for path, tensor in held.items()}
    spec = weights.ModelSpec(run.config.model.name, run.modality.with_preprocessing(run.model), tuple(run.class_names))
    return Source(os.fspath(folder), spec, leaves, run, os.path.join(os.fspath(folder), run.modality.folder), notes)


def _of_weights(opened: weights.Checkpoint) -> Source:
    spec = weights.describe(opened)
    variables, report = weights.load(opened, spec.model, place=lambda path, param: param, digest=False)
    drawn, names = {path for path, _ in report.reinitialised}, rules.names(variables)
    leaves = {path: _leaf(param) for path, param in trees.flatten(variables).items() if names[path] not in drawn}
    return Source(opened.name, spec, leaves, files=opened)


def _of_adapter(address: str | os.PathLike, base: str | os.PathLike) -> Source:
    if not base:
        raise InputError(f"{address} is an adapter; give the model that it is of as base")
    if folders.is_run(base):
        held = _of_run(base, None)
        variables, _ = attaching.attach(held.spec.model, variables_of(held.leaves), [address], sample=held.sample)
    else:
        model, variables, _ = weights.restore(base, adapters=[address])
        held = Source("", weights.describe(base)._replace(model=model), {}, files=weights.open(base))
    model = held.spec.model
    sites = peft.sites(model, abstract(model, held.sample), example(model) if held.sample is None else held.sample)
    params = peft.merge(variables["params"], variables.pop("adapters"), sites)
    notes = (*held.notes, f"{address}: it is merged into {base}")
    leaves = in_memory({**variables, "params": params})
    return held._replace(name=os.fspath(address), leaves=leaves, notes=notes, adapted=True)


def in_memory(variables: Mapping[str, Any]) -> dict[str, Leaf]:
    """Returns the leaves of variables that are arrays in memory."""
    return {path: _leaf(np.asarray(array)) for path, array in trees.flatten(variables).items()}


def _leaf(param: Any) -> Leaf:
    read = functools.partial(param.__getitem__, ...)
    return Leaf(tuple(param.shape), np.dtype(param.dtype), read, getattr(param, "release", _nothing))


def _nothing() -> None:
    """Nothing is to be given back."""


def variables_of(leaves: Mapping[str, Leaf]) -> dict[str, Any]:
    """Returns leaves as a tree of arrays in memory."""
    return trees.unflatten({path: leaf.read() for path, leaf in leaves.items()})


def file_of(source: Source, name: str) -> Path | None:
    """Returns the local path of a file that lies beside a model, or None."""
    if isinstance(source.files, weights.Checkpoint):
        return source.files.file(name)
    path = Path(os.fspath(source.files), name)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return path if path.is_file() else None
