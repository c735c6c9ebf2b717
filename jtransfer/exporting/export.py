"""What an export writes: another library's names and files, or a program."""

import dataclasses
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jtransfer import weights
from jtransfer.core import new_folder, whole_file
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import one_line, say
from jtransfer.exporting import (
    calibrated,
    card,
    foreign,
    hub,
    merging,
    onnx_file,
    own,
    peft_folder,
    program,
    tflite_file,
)
from jtransfer.modalities import MODALITIES, faces
from jtransfer.runs import exportable
from jtransfer.runs import folder as folders
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run
from jtransfer.weights.adapters import attach as attaching
from jtransfer.weights.adapters.load import Loaded
from jtransfer.weights.identify import manifest

FILES = tuple(name for known in MODALITIES.values() for name in known.files)


class Trained(NamedTuple):
    """What is exported.

    Attributes:
      spec: the model.
      variables: its variables, with arrays on the host; "adapters" are among them where it has any.
      name: where they come from.
      sources: checkpoints or addresses, beside which may lie files that are taken along.
      files: the names of these.
      preprocess: from inputs as a run's transform gives them to the model's, jittable.
      inputs: zeros of the shapes of such inputs, of a model that does not make a sample itself; else None.
      sample: likewise, of the model's input.
      run: the run that it is of, if it is of one.
      adapters: those that were put on a base.
    """

    spec: weights.ModelSpec
    variables: dict
    name: str
    sources: tuple[weights.Source, ...]
    files: tuple[str, ...]
    preprocess: Callable[[Any], Any]
    inputs: Any = None
    sample: Any = None
    run: StoredRun | None = None
    adapters: tuple[Loaded, ...] = ()


def export(
    source: str | os.PathLike,
    dest: str | os.PathLike,
    format: str,
    *,
    step: int | str | None = None,
    adapters: attaching.Sources = (),
    push: str = "",
    private: bool | None = None,
) -> None:
    """Exports a run or a checkpoint to a new folder, which appears when it is whole. Adapters are merged into it.

    Args:
      source: the folder of a run, or an address of a checkpoint (see `weights.open`).
      dest: a local folder that is new or empty.
      format: "hf", "timm", "torch", "torchvision", "safetensors", "npz", "orbax" or "stablehlo"; or one of
        `peft_folder.FORMATS`, which writes the adapters alone.
      step: of a run, as `StoredRun.variables` takes it.
      adapters: of the base, as `weights.restore` takes them.
      push: "hf://org/name", a repository of the Hugging Face hub that the folder is then uploaded to.
      private: whether a new repository is private; None is the hub's default for its owner.

    Raises:
      InputError: an unknown format, a taken folder, no such source, a model that the library does not have, or adapters
        that do not fit or can't be merged; or there is no token for the hub, or the upload fails.
    """
    repository = hub.checked(push) if push else ""
    _export(source, dest, format, step, adapters)
    if repository:
        say(f"{dest} → {hub.upload(dest, repository, private=private)}")


def _export(
    source: str | os.PathLike, dest: str | os.PathLike, format: str, step: int | str | None, adapters: attaching.Sources
) -> None:
    if format not in (*FORMATS, *peft_folder.FORMATS):
        raise unknown("format", format, (*FORMATS, *peft_folder.FORMATS))
    new_folder.check_new(dest)
    trained = read(source, step, adapters)
    if format in peft_folder.FORMATS:
        with new_folder.new(dest) as partial:
            lines = (*peft_folder.write(trained, partial, format), *calibrated.left_out(trained, step))
            for line in lines:
                say(line)
            _copy(_beside(trained.sources, trained.files), partial)
            card.write(trained, partial, format, step, lines)
        return
    merged = merging.merge(trained.spec.model, trained.variables, sample=trained.sample)
    write(with_model(trained, merged.model, calibrated.scaled(trained, merged, step)), dest, format, step)


def with_model(trained: Trained, model: Any, variables: dict) -> Trained:
    """Returns what is exported with another model and its variables."""
    return trained._replace(spec=trained.spec._replace(model=model), variables=variables)


def write(trained: Trained, dest: str | os.PathLike, format: str, step: int | str | None = None) -> None:
    """Writes a model without adapters into a new folder, which appears when it is whole.

    Args:
      trained: the model.
      dest, format, step: as for `export`.

    Raises:
      InputError: as for `export`.
    """
    with new_folder.new(dest) as partial:
        FORMATS[format](trained, partial)
        flat = trees.flatten(trained.variables)
        _, report = weights.load(flat, trained.spec.model, sample=trained.sample)
        report = dataclasses.replace(report, source=trained.name)
        name, model, classes, *_ = trained.spec
        manifest.write(partial, manifest.describe(name, model, report, classes))
        _copy(_beside(trained.sources, trained.files), partial)
        card.write(trained, partial, format, step)


def _copy(files: Iterable[Path], folder: Path) -> None:
    for file in files:
        shutil.copyfile(file, folder / file.name)


def read(source: str | os.PathLike, step: int | str | None = None, adapters: attaching.Sources = ()) -> Trained:
    """Returns the model of a run (`StoredRun.variables`), or that of a checkpoint, with its adapters beside it.

    Args:
      source, step, adapters: as for `export`.

    Raises:
      InputError: there is no such source, step or checkpoint, or an adapter does not fit it.
    """
    trained = _read(source, step, adapters)
    if not adapters:
        return trained
    model, variables = trained.spec.model, trained.variables
    variables, found = attaching.attach(model, variables, adapters, sample=trained.sample)
    for line in attaching.told(found):
        say(one_line(line))
    return trained._replace(variables=variables, name=f"{trained.name} with {attaching.names(found)}", adapters=found)


def _read(source: str | os.PathLike, step: int | str | None, adapters: attaching.Sources) -> Trained:
    if not folders.is_run(source):
        if step is not None:
            raise InputError(f"{source} is not the folder of a run; leave --step out")
        opened = weights.open(source)
        spec = weights.describe(opened)
        if adapters and (stated := attaching.fields(spec.model, adapters)):
            spec = weights.describe(opened, **stated)
        variables, _ = weights.load(opened, spec.model)
        return Trained(spec, variables, opened.name, (opened,), FILES, _preprocess(spec.model))
    run = open_run(source)
    kept = os.fspath(epath.Path(source) / run.modality.folder)
    if "://" not in kept:
        for folder in (kept, source):
            whole_file.check_links(folder, dict.fromkeys((*FILES, *run.modality.files)), source)
    model = run.modality.with_preprocessing(run.model)
    variables = jax.tree.map(_wide, run.variables(step))
    spec = weights.ModelSpec(run.config.model.name, model, tuple(run.class_names))
    preprocess = faces.make_preprocess(run.modality, model, train=False)
    sample = None if run.inputs is None else run.sample
    sources = (kept, source, run.config.init)
    files = tuple(dict.fromkeys((*FILES, *run.modality.files)))
    return Trained(spec, variables, str(source), sources, files, preprocess, run.inputs, sample, run)


def _wide(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, np.float32 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype)


def _preprocess(model: Any) -> Callable[[Any], Any]:
    """The preprocessing of a model's inputs by its own account."""
    own = [known.own_preprocess(model) for known in MODALITIES.values()]
    return partial(jax.tree.map, lambda x: reduce(lambda x, change: change(x), own, x))


def _beside(sources: Sequence[weights.Source], names: Iterable[str]) -> Iterator[Path]:
    """The files of these names, each beside the first source that has it."""
    for name in names:
        files = (file for source in sources if (file := _file(source, name)))
        yield from itertools.islice(files, 1)


def _file(source: weights.Source, name: str) -> Path | None:
    """A file beside a checkpoint; None also where the checkpoint is gone, as the source of a run may be."""
    opened = weights.open(source)
    try:
        return opened.file(name)
    except InputError:
        if os.path.lexists(os.path.join(opened.name, name)):  # it is there, and refused
            raise
        return None


FORMATS: dict[str, Callable[[Trained, Path], None]] = {
    **{format: foreign.library(library) for format, library in exportable.LIBRARIES.items()},
    "safetensors": own.tensors("safetensors"),
    "npz": own.tensors("npz"),
    "orbax": own.orbax,
    "onnx": onnx_file.write,
    "tflite": tflite_file.write,
    "stablehlo": program.stablehlo,
}
