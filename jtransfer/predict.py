"""Predicts: python -m jtransfer.predict --workdir=DIR [--step=STEP|best|last] [--save=FILE.npz]
    [--adapters=FOLDER …] EXAMPLE…

One line for each example (an image file, a text, a vector as a .npy file or as numbers 1.5,0.25): what it is, then the
most probable classes with their probabilities; or the number, the classes of its words, the text that is most like it
among the others, or the text that the model writes. A pair of texts is given as one argument with a tab in between.
Where an example begins with a minus, write -- before it. FILE.npz gets the same as arrays: probs, embeddings, ….
With --adapters the model has the adapters in these folders, of Hugging Face's PEFT, beside its own.

In Python, a model that is loaded and compiled once serves any number of calls:

    predictor = predict.load("RUN")
    table = predictor(["photo.jpg", "other.jpg"])    # {"probs": float32 [2, C], …}
    predictor.class_names                            # the C names
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from jtransfer.core.command import cache_compilations, parse_flags, run_command, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say

if TYPE_CHECKING:
    import numpy as np

    from jtransfer.runs.predictor import Predictor
    from jtransfer.tasks import Table


def load(
    folder: str | os.PathLike, step: int | str | None = None, adapters: Sequence[str | os.PathLike] = ()
) -> "Predictor":
    """The model of a run, ready to predict: `predictor(examples) -> {name: [N, …]}`.

    Args:
      folder: of a run.
      step: a step that was kept, "best" (by the validation split), "last", or None for the run's model, the best
        unless `config.model_selection` says otherwise.
      adapters: folders of adapters of the run's model, as `weights.restore` takes them.

    Raises:
      InputError: the folder is no run, or has no such step, or an adapter does not fit.
    """
    from jtransfer.runs import predictor

    return predictor.load(folder, step, adapters)


def table(folder: str | os.PathLike, given: Sequence[str], step: int | str | None = None) -> tuple["Table", list[str]]:
    """What a run's model makes of examples, as arrays [N, …], and the names of its classes; see `load` for many calls.

    Raises:
      InputError: the folder is no run or has no such step, or an example is missing or cannot be read.
    """
    predictor = load(folder, step)
    return predictor(given), predictor.class_names


def predict(
    folder: str | os.PathLike, given: Sequence[str], step: int | str | None = None
) -> tuple["np.ndarray", list[str]]:
    """Probabilities float32 `[N, C]` of examples by a run of classes, and the names of the C classes.

    Arguments and errors as for `table`.
    """
    kept, names = table(folder, given, step)
    if "probs" not in kept:
        raise InputError(f"{folder} is no run of classes; take predict.table, which gives {', '.join(kept)}")
    return kept["probs"], names


def main(argv: list[str]) -> None:
    """Prints the predictions for the examples of a command line."""
    values = flags.FlagValues()
    workdir = flags.DEFINE_string("workdir", "", "the folder of a run", flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last; else the model", flag_values=values)
    save = flags.DEFINE_string("save", "", "a file of arrays, .npz", flag_values=values)
    adapters = flags.DEFINE_multi_string("adapters", [], "folders of adapters of the model", flag_values=values)
    given = parse_flags(values, argv)
    if not workdir.value or not given:
        raise InputError("give a run's folder and examples: python -m jtransfer.predict --workdir=DIR IMAGE_OR_TEXT…")
    if save.value and not save.value.endswith(".npz"):
        raise InputError(f"--save={save.value}: give a file that ends in .npz")
    cache_compilations()
    predictor = load(workdir.value, step_of(step.value), adapters.value)
    found = predictor(given)
    if predictor.temperature != 1:
        say(f"probabilities are calibrated, at the temperature {predictor.temperature:.4g}", file=sys.stderr)
    for line in predictor.lines(given, found):
        say(one_line(line, sys.maxsize))
    if save.value:
        _save(save.value, given, predictor, found)


def _save(file: str, given: Sequence[str], predictor: "Predictor", found: "Table") -> None:
    import numpy as np

    from jtransfer.runs.predictor import as_arrays

    arrays: dict[str, Any] = as_arrays(found)
    np.savez(file, given=np.array(given), class_names=np.array(predictor.class_names), **arrays)


if __name__ == "__main__":
    run_command(main)
