"""Predicts: python -m jtransfer.predict --workdir=DIR [--step=STEP|best] IMAGE_OR_TEXT…

One line for each image or text: what it is, then the most probable classes with their probabilities; of a run that
translates or goes on with texts, what it generates.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags
from etils import epath

from jtransfer import checkpoint, data, evals, generate, setup, tasks, texts, workdir, writing
from jtransfer import config as configs
from jtransfer import step as steps
from jtransfer.command import cache_compilations, parse_flags, run_command
from jtransfer.data import tokenizers
from jtransfer.data.pixels import decode
from jtransfer.errors import InputError

TOP = 5  # classes shown
BATCH = 16  # images at once, at most

_FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", "", "the folder of a run", flag_values=_FLAGS)
_STEP = flags.DEFINE_string("step", "", 'a step that was kept, or "best"; the last by default', flag_values=_FLAGS)


def predict(
    folder: str | os.PathLike, images: Sequence[str], step: int | str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Probabilities float32 `[N, C]` of image files by a run's model, and the names of the C classes.

    Args:
      folder: of a run.
      images: paths of image files, or texts. Each is prepared as the run prepared its examples for evaluation.
      step: as `checkpoint.load_params` takes it.

    Raises:
      InputError: the folder is no run or has no such step, or an image is missing or cannot be read.
    """
    config = configs.complete(workdir.read_json(epath.Path(folder) / "config.json"))
    names = workdir.read_json(epath.Path(folder) / "classes.json")["class_names"]
    model = setup.create_model(config, len(names))
    task, place = tasks.TASKS[config.task or "images"], Path(folder) / texts.FOLDER
    if config.task in ("multi_label", "regress", "tag", "embed"):
        raise InputError(f"predict serves classes and generated texts; {folder} is a run of task={config.task!r}")
    if task.pipeline is None:
        for path in images:
            if not os.path.isfile(path):
                raise InputError(f"{path}: there is no such image")
    transform = setup.transforms(config, model, task, tokenizers.open(place) if task.pipeline else None)["eval"]
    preprocess = steps.pixels(**setup.statistics(transform), dtype=model.dtype) if task.pipeline is None else None
    eval_step = jax.jit(steps.make_eval_step(model, preprocess=preprocess or (lambda inputs: inputs)))
    variables = checkpoint.load_params(folder, step)
    source = data.Source(
        size=len(images),
        read=lambda index: _example(images[index], task, config.data.channels),
        class_names=names,
        read_labels=lambda start, stop: np.zeros(stop - start, np.int32),
    )
    logits = []
    for batch in data.eval_batches(source, transform, min(BATCH, len(images)), threads=config.data.threads):
        logits.append(np.asarray(eval_step(variables, batch)["logits"])[batch["mask"]])
    return evals.softmax(np.concatenate(logits)), names


def _example(given: str, task: tasks.Task, channels: int) -> dict:
    return {"text": given} if task.pipeline else {"image": decode(given, channels), "label": 0}


def generated(folder: str | os.PathLike, given: Sequence[str], step: int | str | None = None) -> list[str]:
    """What a run's model makes of texts, greedily: a target for each, or what follows it.

    Raises:
      InputError: the folder is no run of such a task, or has no such step.
    """
    config = configs.complete(workdir.read_json(epath.Path(folder) / "config.json"))
    tokenizer = tokenizers.open(Path(folder) / texts.FOLDER)
    model = setup.create_model(config, 0)
    settings, key = writing.settings(config, model, tokenizer), jax.random.key(config.seed)
    inputs = tokenizer(given, length=config.data.length)
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    found = generate.generate(model, checkpoint.load_params(folder, step), inputs, settings, key)
    produced = tokenizer.target or tokenizer
    return [produced.decode(row[:length]) for row, length in zip(np.asarray(found.tokens), found.lengths, strict=True)]


def lines(images: Sequence[str], probs: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """One line of text for each image."""
    width = max(map(len, images))
    for path, row in zip(images, probs, strict=True):
        best = np.argsort(-row, kind="stable")[:TOP]
        yield f"{path:<{width}}  " + "  ".join(f"{names[i]} {row[i]:.3f}" for i in best)


def main(argv: list[str]) -> None:
    """Prints the predictions for the images of a command line."""
    images = parse_flags(_FLAGS, argv)
    if not _WORKDIR.value or not images:
        raise InputError("give a run's folder and images or texts: python -m jtransfer.predict --workdir=DIR IMAGE…")
    cache_compilations()
    step = int(_STEP.value) if _STEP.value.isdigit() else _STEP.value or None
    task = workdir.read_json(epath.Path(_WORKDIR.value) / "config.json").get("task")
    if task in ("seq2seq", "lm"):
        print("\n".join(generated(_WORKDIR.value, images, step)))
        return
    probs, names = predict(_WORKDIR.value, images, step)
    print("\n".join(lines(images, probs, names)))


if __name__ == "__main__":
    run_command(main)
