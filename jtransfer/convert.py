"""Converts: python -m jtransfer.convert SOURCE DEST [--model=NAME] [--verify]

Any checkpoint that is read → an Orbax checkpoint in the new folder DEST, with `source.json` (its origin, digests,
names, the model and its fields, preprocessing) and the tokenizer's and processor's files. It is streamed: a few
megabytes are held, however large the checkpoint is. With --verify it is then compared with its reference (see
`jtransfer.verify`); the exit code is 1 where they differ by more than 1e-4.
"""

import os
import shutil
import sys
from typing import Any

from absl import flags

from jtransfer import weights
from jtransfer.core import new_folder
from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.proof import verify
from jtransfer.weights import libraries
from jtransfer.weights.identify import manifest, sidecar_files
from jtransfer.weights.streaming import orbax_writer

COPIED = (*sidecar_files.TOKENIZER, *sidecar_files.PROCESSOR, sidecar_files.GENERATION)


def convert(
    source: weights.Source, dest: str | os.PathLike, *, model: str | None = None
) -> tuple[weights.ModelSpec, weights.Report]:
    """Converts a checkpoint to an Orbax checkpoint in a new folder, which appears when it is whole.

    Args:
      source: an address or an open checkpoint; see `weights.open`.
      dest: a local folder that is new or empty.
      model: a name of `models.names()`; by default what the source says or fits.

    Returns:
      The model that the checkpoint is of, and the report of every tensor and parameter.

    Raises:
      InputError: `dest` is taken, no model here fits, or the tensors don't fit it; nothing is written then.
    """
    new_folder.check_new(dest)
    checkpoint = weights.open(source)
    spec = weights.describe(checkpoint, model=model)
    with new_folder.new(dest) as partial:
        with orbax_writer.new(partial) as place:
            _, report = weights.load(checkpoint, spec.model, place=place)
        for name in COPIED:
            if file := checkpoint.file(name):
                shutil.copyfile(file, partial / name)
        manifest.write(partial, manifest.describe(spec.name, spec.model, report, spec.class_names))
    return spec, report


def main(argv: list[str]) -> None:
    """Converts by a command line; prints the report and, with --verify, the differences from the reference."""
    values = flags.FlagValues()
    name = flags.DEFINE_string("model", "", "by default what the source says or fits", flag_values=values)
    check = flags.DEFINE_boolean("verify", False, "compare with the reference implementation", flag_values=values)
    rest = parse_flags(values, argv)
    if len(rest) != 2:
        raise InputError("give a source and a new folder: python -m jtransfer.convert SOURCE DEST [--model=NAME]")
    checkpoint, dest = weights.open(rest[0]), rest[1]
    spec, report = convert(checkpoint, dest, model=name.value or None)
    print(report)
    if spec.unsure:
        print(f"{' and '.join(spec.unsure)} can't be told from the source; the model has its own: --verify tells")
    print(f"{spec.name} with {_head(spec.model)} → {dest}")
    if check.value and not verify.check(checkpoint, dest, spec, report):
        sys.exit(1)


def _head(model: Any) -> str:
    kind = getattr(model, "head", libraries.LABELLED[0])
    return f"{model.num_classes} classes" if kind in libraries.LABELLED else f"head={kind!r}"


if __name__ == "__main__":
    run_command(main)
