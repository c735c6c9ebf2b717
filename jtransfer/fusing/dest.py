"""What is written of a fused model: a checkpoint as a conversion writes it, or a run that is done."""

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from jtransfer import weights
from jtransfer.core import new_folder
from jtransfer.fusing import figure
from jtransfer.fusing.source import Source, file_of
from jtransfer.runs import config as configs
from jtransfer.runs import fingerprint, json_file, log
from jtransfer.runs import folder as folders
from jtransfer.runs.position import Position
from jtransfer.training import checkpoint
from jtransfer.weights.conversion import COPIED
from jtransfer.weights.formats.lazy import Lazy
from jtransfer.weights.identify import manifest
from jtransfer.weights.streaming import orbax_writer

EVENT = "fuse"  # the line of the log that says what was fused


def write_checkpoint(
    dest: str | os.PathLike, fused: Mapping[str, Lazy], first: Source, told: Mapping[str, Any]
) -> None:
    """Writes a fused model as a checkpoint, which any command takes as a source.

    Args:
      dest: A new folder, which appears when it is whole.
      fused: Full path → tensor, which is read once.
      first: The model whose description, classes and files it has.
      told: What was fused, JSON.
    """
    with new_folder.new(dest) as partial:
        with orbax_writer.new(partial) as place:

            def put(path: str, param: Any) -> None:
                if path in fused:
                    place(path, param)

            _, report = weights.load(fused, first.spec.model, place=put, sample=first.sample)
        for name in COPIED:
            if file := file_of(first, name):
                shutil.copyfile(file, partial / name)
        report = dataclasses.replace(report, source=f"{told['how']} of {', '.join(told['sources'])}")
        content = manifest.describe(first.spec.name, first.spec.model, report, first.spec.class_names)
        manifest.write(partial, {**content, EVENT: dict(told)})
        _draw(partial, told)


@contextmanager
def new_run(dest: str | os.PathLike, first: Source, told: Mapping[str, Any], **model: Any) -> Iterator[Any]:
    """Makes a run whose model is fused. It has the config, the data and the files of the first that was, and one
    checkpoint, after which there is nothing left to train.

    Args:
      dest: A new folder, which appears when it is whole.
      first: The model of a run.
      told: What was fused, JSON.
      **model: Fields of `config.model` that are others.

    Yields:
      The folder, and a function `place(path, array)` that writes one of the model's variables.
    """
    run = first.run
    assert run is not None
    config = run.config.copy_and_resolve_references().unlock()
    config.adapters, config.adapters_init, config.quantize, config.base = (), "", "", "copy"
    if model:
        config.model.name, config.model.fields = model["name"], ConfigDict(model["fields"])
        config.init, config.init_parts = "scratch", ConfigDict()
    config = configs.complete(config)
    phase = config.phases[-1].name
    with new_folder.new(dest) as partial:
        position = Position(len(config.phases) - 1, phase, 0, "", done=True)._asdict()
        with checkpoint.write_whole(partial, 0, position) as place:
            yield partial, place
        folders.claim(partial, config, run.class_names, run.inputs)
        run.modality.save(partial)
        _keep_data(partial, run.folder, [os.path.join(run.modality.folder, name) for name in run.modality.files])
        with log.Writer(partial, terminal=False) as writer:
            writer.event(0, phase, EVENT, **told)
        _draw(partial, told)


def write_run(dest: str | os.PathLike, fused: Mapping[str, Lazy], first: Source, told: Mapping[str, Any]) -> None:
    """Writes a fused model as a run; arguments as of `write_checkpoint`, the first of the models being one of a run."""
    with new_run(dest, first, told) as (_, place):
        for path, tensor in fused.items():
            place(path, tensor.read())


def _draw(folder: Path, told: Mapping[str, Any]) -> None:
    if told.get("curve"):
        figure.write(folder, told["curve"], told["metric"], told["fields"]["alpha"])


def _keep_data(folder: Path, before: epath.Path, files: Sequence[str]) -> None:
    if (before / fingerprint.FILE).exists():
        found = json_file.read(before / fingerprint.FILE)
        fingerprint.keep(folder, {name: value for name, value in found.items() if name != "kept"}, files)
