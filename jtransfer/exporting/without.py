"""A model with adapters as one without: merged into the parameters, or stripped off."""

import os

from jtransfer.core import new_folder
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import say
from jtransfer.exporting import calibrated, merging
from jtransfer.exporting import export as exports
from jtransfer.weights.adapters import attach as attaching


def merge(
    source: str | os.PathLike,
    dest: str | os.PathLike,
    format: str,
    *,
    step: int | str | None = None,
    adapters: attaching.Sources = (),
    untie: bool = False,
) -> None:
    """Merges adapters into the parameters, says what that changes, and exports the model.

    Args:
      source, dest, format, step, adapters: as for `exporting.export.export`.
      untie: whether embeddings that are also the head's kernel may become two arrays.

    Raises:
      InputError: as for `exporting.export.export`; or there are no adapters.
    """
    _check(dest, format)
    trained = exports.read(source, step, adapters)
    _check_adapted(trained)
    merged = merging.merge(trained.spec.model, trained.variables, untie=untie, sample=trained.sample)
    inputs, what = merging.inputs(trained.spec.model, trained.run)
    before, after = (trained.spec.model, trained.variables), (merged.model, merged.variables)
    largest, mean, most = merging.change(before, after, inputs)
    for line in merged.lines:
        say(line)
    say(f"merging changes the logits by {largest:.1e} at most, {mean:.1e} in the mean, of up to {most:.3g} ({what})")
    exports.write(
        exports.with_model(trained, merged.model, calibrated.scaled(trained, merged, step)), dest, format, step
    )


def strip(source: str | os.PathLike, dest: str | os.PathLike, format: str, *, step: int | str | None = None) -> None:
    """Exports a model without its adapters.

    Args:
      source, dest, format, step: as for `exporting.export.export`.

    Raises:
      InputError: as for `exporting.export.export`; or there are no adapters.
    """
    _check(dest, format)
    trained = exports.read(source, step)
    _check_adapted(trained)
    rest = {name: tree for name, tree in trained.variables.items() if name != merging.COLLECTION}
    exports.write(exports.with_model(trained, trained.spec.model, rest), dest, format)


def _check(dest: str | os.PathLike, format: str) -> None:
    if format not in exports.FORMATS:
        raise unknown("format", format, exports.FORMATS)
    new_folder.check_new(dest)


def _check_adapted(trained: exports.Trained) -> None:
    if not trained.variables.get(merging.COLLECTION):
        raise InputError(f"{trained.name} has no adapters; export it")
