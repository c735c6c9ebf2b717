"""What a config asks to be exported when its run has ended."""

import os
from pathlib import Path

import jax

from jtransfer.core import new_folder
from jtransfer.core.show import say
from jtransfer.exporting.export import export
from jtransfer.runs import exportable
from jtransfer.runs.open import open as open_run


def export_and_tell(folder: str | os.PathLike) -> None:
    """Exports the model of a run that has ended as its config asks, into the folder "export" of the run's folder.

    What is there already stays, which is said; with several JAX processes the first one exports.

    Args:
      folder: of the run.

    Raises:
      InputError: the model can't be exported.
    """
    format = open_run(folder).config.export
    if not format or jax.process_index():
        return
    dest = Path(folder) / exportable.FOLDER
    if dest.exists():
        say(f"export: {dest} is there; to export the run again, delete it and start the same command")
        return
    new_folder.tell_leftovers(dest)
    export(folder, dest, format)
    say(f"export: {dest} ({format})")
