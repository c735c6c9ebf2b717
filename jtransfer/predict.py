"""Predicts: python -m jtransfer.predict --workdir=DIR [--step=STEP|best] [--save=FILE.npz] IMAGE_OR_TEXT…

One line for each image or text: what it is, then the most probable classes with their probabilities; or the number, the
classes of its words, the text that is most like it among the others, or the text that the model writes. A pair of texts
is given as one argument with a tab in between. FILE.npz gets the same as arrays: probs, logits, embeddings, ….
"""

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from etils import epath

from jtransfer import data, evaluators, generate, tasks
from jtransfer.core import config as configs
from jtransfer.core.command import cache_compilations, parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.evaluators import generation
from jtransfer.modalities.image.pixels import decode
from jtransfer.runs import build, feed, texts
from jtransfer.runs import folder as workdir
from jtransfer.tasks import Table
from jtransfer.training import checkpoint
from jtransfer.training import step as steps

BATCH = 16  # images at once, at most

_FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", "", "the folder of a run", flag_values=_FLAGS)
_STEP = flags.DEFINE_string("step", "", 'a step that was kept, or "best"; the last by default', flag_values=_FLAGS)
_SAVE = flags.DEFINE_string("save", "", "a file of arrays, .npz", flag_values=_FLAGS)


def table(folder: str | os.PathLike, given: Sequence[str], step: int | str | None = None) -> tuple[Table, list[str]]:
    """What a run's model makes of images or texts, as arrays [N, …], and the names of its classes.

    Args:
      folder: of a run.
      given: paths of image files, or texts. Each is prepared as the run prepared its examples for evaluation.
      step: as `checkpoint.load_params` takes it.

    Returns:
      What the run's task keeps of each example: `probs` float32 [N, C] of classes, `logits`, `predicted`, `embeddings`;
      or `written`, strings [N], where it writes.

    Raises:
      InputError: the folder is no run or has no such step, or an image is missing or cannot be read.
    """
    config = configs.complete(workdir.read_json(epath.Path(folder) / "config.json"))
    names = workdir.read_json(epath.Path(folder) / "classes.json")["class_names"]
    model, task = build.create_model(config, len(names)), tasks.TASKS[config.task or "images"]
    if task.pipeline is None:
        for path in given:
            if not os.path.isfile(path):
                raise InputError(f"{path}: there is no such image")
    tokenizer = texts.tokenizer(config, folder) if task.pipeline else None
    make = _written if task.writes else _evaluated
    return make(config, model, task, tokenizer, given, names, lambda: checkpoint.load_params(folder, step)), names


def predict(
    folder: str | os.PathLike, images: Sequence[str], step: int | str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Probabilities float32 `[N, C]` of images or texts by a run of classes, and the names of the C classes.

    Arguments and errors as for `table`.
    """
    found, names = table(folder, images, step)
    if "probs" not in found:
        raise InputError(f"{folder} is no run of classes; take predict.table, which gives {', '.join(found)}")
    return found["probs"], names


def _evaluated(config: Any, model: Any, task: tasks.Task, tokenizer: Any, given, names, load) -> Table:
    transform = build.transforms(config, model, task, tokenizer)["eval"]
    source = data.Source(
        size=len(given),
        read=lambda i: task.example(given[i], len(names)) if tokenizer else _image(given[i], config.data.channels),
        class_names=names,
        read_labels=lambda start, stop: np.zeros(stop - start, np.int32),
    )
    inputs = feed.preprocess(transform, model.dtype)
    eval_step = jax.jit(steps.make_eval_step(model, preprocess=inputs, keep=task.keep))
    batches = data.eval_batches(source, transform, min(BATCH, len(given)), threads=config.data.threads)
    return evaluators.run(eval_step, load(), batches, lambda kept: ())[1]


def _image(path: str, channels: int) -> dict:
    return {"image": decode(path, channels), "label": 0}


def _written(config: Any, model: Any, task: tasks.Task, tokenizer: Any, given, names, load) -> Table:
    inputs = generation.inputs(config, tokenizer, given)
    how, key = generation.settings(config, model, tokenizer), jax.random.key(config.seed)
    found = generate.generate(model, load(), inputs, how, key)
    return {"written": generation.decoded(tokenizer, *map(np.asarray, (found.tokens, found.lengths)))}


def main(argv: list[str]) -> None:
    """Prints the predictions for the images or texts of a command line."""
    given = parse_flags(_FLAGS, argv)
    if not _WORKDIR.value or not given:
        raise InputError("give a run's folder and images or texts: python -m jtransfer.predict --workdir=DIR IMAGE…")
    if _SAVE.value and not _SAVE.value.endswith(".npz"):
        raise InputError(f"--save={_SAVE.value}: give a file that ends in .npz")
    cache_compilations()
    step = int(_STEP.value) if _STEP.value.isdigit() else _STEP.value or None
    found, names = table(_WORKDIR.value, given, step)
    task = workdir.read_json(epath.Path(_WORKDIR.value) / "config.json").get("task") or "images"
    print("\n".join(tasks.TASKS[task].lines(given, found, names)))
    if _SAVE.value:
        kept = {name: array for name, array in found.items() if name not in ("label", "index")}
        np.savez(_SAVE.value, given=np.array(given), class_names=np.array(names), **kept)


if __name__ == "__main__":
    run_command(main)
