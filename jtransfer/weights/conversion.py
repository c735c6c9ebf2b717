"""From any checkpoint to an Orbax checkpoint with its manifest and tokenizer, a few megabytes at a time."""

import os
import shutil
from collections.abc import Sequence

from jtransfer.core import new_folder
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights.identify import manifest, sidecar_files
from jtransfer.weights.load import load
from jtransfer.weights.report import Report
from jtransfer.weights.restore import ModelSpec, describe
from jtransfer.weights.streaming import orbax_writer

COPIED = (*sidecar_files.TOKENIZER, *sidecar_files.PROCESSOR, sidecar_files.GENERATION)


def convert(
    source: checkpoints.Source, dest: str | os.PathLike, *, model: str | None = None, ignore: Sequence[str] = ()
) -> tuple[ModelSpec, Report]:
    """Converts a checkpoint to an Orbax checkpoint in a new folder, which appears when it is whole.

    Args:
      source: an address or an open checkpoint; see `weights.open`.
      dest: a local folder that is new or empty.
      model: a name of `models.names()`; by default what the source says or fits.
      ignore: patterns of names of tensors that are not looked at, as for `weights.load`.

    Returns:
      The model that the checkpoint is of, and the report of every tensor and parameter.

    Raises:
      InputError: `dest` is taken, no model here fits, or the tensors don't fit it; nothing is written then.
    """
    new_folder.check_new(dest)
    checkpoint = checkpoints.open(source, ignore=ignore)
    spec = describe(checkpoint, model=model)
    with new_folder.new(dest) as partial:
        with orbax_writer.new(partial) as place:
            _, report = load(checkpoint, spec.model, place=place)
        for name in COPIED:
            if file := checkpoint.file(name):
                shutil.copyfile(file, partial / name)
        manifest.write(partial, manifest.describe(spec.name, spec.model, report, spec.class_names))
    return spec, report
