"""Predicts: python -m jtransfer.predict --workdir=RUN [--save=FILE] EXAMPLE…

    python -m jtransfer.predict --workdir=RUN photo.jpg                          # a line for each example
    python -m jtransfer.predict --workdir=RUN test_images/ --save=submission.csv --columns=id,label
    python -m jtransfer.predict --workdir=RUN reviews.csv --save=found.parquet --top_k=3
    tail -f log.txt | python -m jtransfer.predict --workdir=RUN -                # lines, answered as they come

An example is an image file, a text, a vector as a .npy file or as numbers 1.5,0.25; a pair of texts is one argument
with a tab in between. Given may also be a folder, whose files are taken in the order of their names; a pattern such as
'photos/*.jpg'; a table (.csv, .tsv, .jsonl, .parquet), of which a column has the texts, the paths of the images, or
several the numbers; a .txt file with one on each line; a .npz or .npy file of vectors; or -, lines of standard input.
Where an example begins with a minus, write -- before it.

Of examples given by themselves, a line each is printed: what it is, then the most probable classes with their
probabilities; or the number, the classes of its words, the text that is most like it among the others, or the text that
the model writes.

--workdir=RUN  the folder of a run
--step=STEP    a step that was kept, best or last; else the run's model
--save=FILE    a file of all predictions: .csv, .jsonl or .parquet, with a row for each example: its own columns, then
               label and probability; labels; prediction; tags; embedding_0, …; or written. Or .npz with the arrays. A
               command that was stopped goes on where it was; FILE.json says what FILE is made of. -.jsonl and -.csv are
               standard output
--columns=A,B  the columns, in order: those of the input, file, id (the input's own, or the name of a file without its
               suffix) and those above; probs is a column for each class; name=A writes A under another name, own:A is
               the input's where a prediction has the same name. Without it a prediction is called predicted_A then
--top_k=K      also label_2, probability_2, …, of the K most probable classes
--features=STAGE  also what a stage gives, as a vector, the mean over places
--tta=VIEWS    averages over views of each image: flip_lr, flip_ud, rot90, five_crop, random(8), or several joined by
               "|", as 'five_crop|flip_lr'
--data=NAME    in place of examples a data set, written as in config.data.name: a TFDS name, folder:/path, …
--split=SPLIT  of it, an expression such as test[:500]; by default all
--data.FIELD=VALUE  a field of config.data in place of the run's, such as --data.text_key=review
--broken=skip  gives examples that can't be read a row that says so in the column error; stop, the default, ends there
--batch_size=N examples at once
--adapters=FOLDER  adapters of the model, as Hugging Face's PEFT writes them, beside its own; may be repeated

In Python, a model that is loaded and compiled once serves any number of calls:

    predictor = predict.load("RUN")
    table = predictor(["photo.jpg", "other.jpg"])                    # {"probs": float32 [2, C], …}
    rows = predictor.rows("photos/", "more.csv", top_k=3)             # a dict for each example
    predictor.save("found.csv", "photos/", columns=["id", "label"])
    predictor.class_names                                            # the C names
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from jtransfer.core.command import parse_flags, run_command, set_up_compiler, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say

if TYPE_CHECKING:
    import numpy as np

    from jtransfer.predicting.inputs import Inputs
    from jtransfer.runs.predicted import How
    from jtransfer.runs.predictor import Predictor
    from jtransfer.tasks import Table

STDIN = "-"
STDOUT = ("-.jsonl", "-.csv")


def load(
    folder: str | os.PathLike,
    step: int | str | None = None,
    adapters: Sequence[str | os.PathLike] = (),
    tta: str = "",
    **fields: Any,
) -> "Predictor":
    """The model of a run, ready to predict: `predictor(examples) -> {name: [N, …]}`, `predictor.rows(…)`.

    Args:
      folder: of a run.
      step: a step that was kept, "best" (by the validation split), "last", or None for the run's model, the best
        unless `config.model_selection` says otherwise.
      adapters: folders of adapters of the run's model, as `weights.restore` takes them.
      tta: views of each image that predictions are averaged over, such as "flip_lr"; "" for none.
      **fields: fields of `config.data` in place of the run's, such as `image_dir="photos"`.

    Raises:
      InputError: the folder is no run, or has no such step, or an adapter does not fit, or there are no such views.
    """
    from jtransfer.runs import predictor

    return predictor.load(folder, step, adapters, tta, **fields)


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
    """Prints or writes the predictions for the examples of a command line."""
    values = flags.FlagValues()
    workdir = flags.DEFINE_string("workdir", "", "the folder of a run", flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last; else the model", flag_values=values)
    save = flags.DEFINE_string("save", "", "a file of predictions", flag_values=values)
    data = flags.DEFINE_string("data", "", "a data set", flag_values=values)
    split = flags.DEFINE_string("split", "all", "an expression", flag_values=values)
    columns = flags.DEFINE_list("columns", [], "the columns", flag_values=values)
    top_k = flags.DEFINE_integer("top_k", 1, "classes", flag_values=values)
    features = flags.DEFINE_string("features", "", "a stage", flag_values=values)
    tta = flags.DEFINE_string("tta", "", "views that are averaged over", flag_values=values)
    broken = flags.DEFINE_string("broken", "stop", "skip or stop", flag_values=values)
    batch = flags.DEFINE_integer("batch_size", 0, "examples at once", flag_values=values)
    adapters = flags.DEFINE_multi_string("adapters", [], "folders of adapters of the model", flag_values=values)
    overrides = [arg for arg in argv[1:] if arg.startswith("--data.")]
    given = parse_flags(values, [arg for arg in argv if arg not in overrides])
    if not workdir.value or not (given or data.value):
        raise InputError("give a run's folder and examples: python -m jtransfer.predict --workdir=DIR IMAGE_OR_TEXT…")
    from jtransfer.runs import predicted

    how = predicted.How(columns.value, top_k.value, features.value, broken.value, batch.value)
    _check(save.value, how, given)
    set_up_compiler()
    fields = _fields(workdir.value, overrides)
    predictor = load(workdir.value, step_of(step.value), adapters.value, tta.value, **fields)
    predicted.check(predictor, how)
    if given == [STDIN] and (not save.value or save.value in STDOUT):
        _answer(predictor, save.value, how)
        return
    given = [line for one in given for line in (_lines() if one == STDIN else [one])]
    examples = predictor.inputs(given, data=data.value, split=split.value)
    for note in examples.notes:
        say(note, file=sys.stderr)
    _tell(predictor)
    if save.value in STDOUT:
        _write(save.value, (columns for columns in _columns(predictor, examples, how)))
    elif save.value:
        _save(predictor, save.value, examples, how)
    if not save.value or (examples.single and save.value not in STDOUT):
        _print(predictor, examples, how)


def _check(save: str, how: "How", given: Sequence[str]) -> None:
    from jtransfer.predicting import formats

    if save and save not in STDOUT:
        formats.of_file(save)
    for name in () if save else ("columns", "features"):
        if getattr(how, name):
            raise InputError(f"--{name} is of what is written; give --save=FILE, or --save=-.csv for standard output")
    if not save and how.top_k != 1:
        raise InputError("--top_k is of what is written; give --save=FILE, or --save=-.csv for standard output")
    if STDIN in given and len(given) > 1:
        raise InputError("- stands for standard input, and must be given alone; write ./- for a file of this name")


def _fields(workdir: str, overrides: Sequence[str]) -> dict[str, Any]:
    from jtransfer import runs
    from jtransfer.runs import config_file

    return config_file.data_fields(runs.open(workdir).config, overrides) if overrides else {}


def _tell(predictor: "Predictor") -> None:
    if predictor.temperature != 1:
        say(f"probabilities are calibrated, at the temperature {predictor.temperature:.4g}", file=sys.stderr)
    if predictor.tta:
        say(f"predictions are averages over views of each image: {predictor.tta}", file=sys.stderr)


def _lines() -> list[str]:
    lines = [line for line in sys.stdin.read().splitlines() if line]
    if not lines:
        raise InputError("standard input holds no line")
    return lines


def _answer(predictor: "Predictor", save: str, how: "How") -> None:
    """Answers lines of standard input as they come."""
    from jtransfer.runs import predicted

    _tell(predictor)
    answers = predicted.stream(predictor, sys.stdin, how)
    if save:
        _write(save, (columns for _, _, columns in answers))
        return
    for lines, table, columns in answers:
        for line in predictor.lines(lines, table) if table else ():
            say(one_line(line, sys.maxsize))
        for error in filter(None, columns.get("error", ())):
            say(one_line(error), file=sys.stderr)


def _columns(predictor: "Predictor", examples: "Inputs", how: "How") -> Iterator[dict[str, Any]]:
    from jtransfer.runs import predicted

    for part in predictor.parts(examples, batch=how.batch_size, features=how.features, broken=how.broken):
        yield predicted.columns_of(predictor, examples, part, how)


def _write(save: str, parts: Iterator[dict[str, Any]]) -> None:
    """Writes parts on standard output, each at once."""
    from jtransfer.predicting import formats

    encode = formats.of_file(save).encode
    for number, columns in enumerate(parts):
        sys.stdout.buffer.write(encode(columns, number == 0))
        sys.stdout.buffer.flush()


def _save(predictor: "Predictor", save: str, examples: "Inputs", how: "How") -> None:
    from jtransfer.runs import predicted

    done = predicted.save(predictor, save, examples, how)
    if done.errors is None:
        say(f"{save} is there already, of this command", file=sys.stderr)
        return
    wrong = f", of which {done.errors:,} could not be read" if done.errors else ""
    say(f"{save}: {done.rows:,} rows{wrong}", file=sys.stderr)


def _print(predictor: "Predictor", examples: "Inputs", how: "How") -> None:
    rows = examples.size if examples.single or predictor.run.task.form == "pair" else 0
    batch = how.batch_size or min(predictor.most, examples.size)
    for part in predictor.parts(examples, rows=rows, batch=batch, broken=how.broken):
        names = examples.names[part.start : part.start + part.size]
        for i, line in enumerate(predictor.lines(names, part.table)):
            say(one_line(f"{names[i]}  {part.errors[i]}" if i in part.errors else line, sys.maxsize))


if __name__ == "__main__":
    run_command(main)
