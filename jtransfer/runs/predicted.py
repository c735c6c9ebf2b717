"""What a predictor makes of examples, as rows: for the caller, for a file, or as the examples come."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jtransfer.core import stopping
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.predicting import columns as choosing
from jtransfer.predicting import formats, parts, progress, waiting
from jtransfer.predicting.inputs import FILE, Inputs, column_of
from jtransfer.tasks import Table
from jtransfer.training import checkpoint

if TYPE_CHECKING:
    from jtransfer.runs.predictor import Predictor

PART = 512  # rows of a part of a file, about
_SHOWN = 3


class Part(NamedTuple):
    """The predictions for some examples that follow each other.

    Attributes:
      start: the number of the first one.
      size: how many they are.
      table: what the task keeps of them, as arrays [n, …]; of one that could not be read, that of another one.
      errors: number, from `start`, → why an example could not be read.
    """

    start: int
    size: int
    table: Table
    errors: Mapping[int, str]


class How(NamedTuple):
    """How predictions are made and shown.

    Attributes:
      columns: the columns, such as ("id", "label") or ("image=file", "cat=probs"); () are all.
      top_k: the number of classes that are shown.
      features: a stage whose output each example gets as "features", the mean over places; "" for none.
      broken: "stop", where an example that cannot be read is an error, or "skip", where its row says so.
      batch_size: examples at once; 0 is what the run's evaluations take.
    """

    columns: tuple[str, ...] | list[str] = ()
    top_k: int = 1
    features: str = ""
    broken: str = "stop"
    batch_size: int = 0


class Saved(NamedTuple):
    """A file that was written.

    Attributes:
      rows: the number of its rows.
      errors: the number of those that could not be read; None where the file was there already.
    """

    rows: int
    errors: int | None


def rows(predictor: "Predictor", inputs: Inputs, how: How) -> Iterator[dict[str, Any]]:
    """Yields the rows of examples, of plain values."""
    check(predictor, how)
    for part in predictor.parts(inputs, batch=how.batch_size, features=how.features, broken=how.broken):
        yield from as_rows(columns_of(predictor, inputs, part, how))


def as_rows(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the rows of columns, of plain values."""
    yield from choosing.rows(columns, formats.as_text)


def check(predictor: "Predictor", how: How) -> None:
    """Checks what can be checked before anything is computed.

    Raises:
      InputError: a number or a word is wrong, or there is no such stage.
    """
    if how.top_k < 1 or how.batch_size < 0:
        raise InputError(f"--top_k={how.top_k} and --batch_size={how.batch_size} must be numbers from 1 on")
    predictor.check(how.features, how.broken)


def columns_of(predictor: "Predictor", inputs: Inputs, part: Part, how: How) -> dict[str, Any]:
    """Returns the columns of a part that are to be written, name → values.

    Raises:
      InputError: there is no such column.
    """
    these = slice(part.start, part.start + part.size)
    own = {name: values[these] for name, values in inputs.columns.items()}
    table = {name: values for name, values in part.table.items() if name != "features"}
    made = predictor.run.task.columns(inputs.names[these], table, predictor.class_names, how.top_k)
    made |= {"features": part.table["features"]} if how.features else {}
    made = choosing.masked(made, part.errors)
    if how.broken == "skip":
        made[choosing.ERROR] = [part.errors.get(i) for i in range(part.size)]
    wanted = choosing.asked(how.columns)
    if not part.start and (line := choosing.clash(wanted, own, made)):
        say(line, file=sys.stderr)
    return choosing.chosen(wanted, own, made, predictor.class_names)


def raw_columns(predictor: "Predictor", inputs: Inputs, part: Part, how: How) -> dict[str, Any]:
    """Returns what the task keeps of a part, as arrays, beside `given`, `class_names` and the examples' own columns."""
    these = slice(part.start, part.start + part.size)
    kept = {name: np.asarray(array) for name, array in part.table.items() if name not in ("label", "index")}
    made = {"given": np.array(inputs.names[these])} | choosing.masked(kept, part.errors)
    if how.broken == "skip":
        made[choosing.ERROR] = [part.errors.get(i, "") for i in range(part.size)]
    alone = {FILE, *predictor.run.modality.nouns} if len(inputs.columns) == 1 else set()
    own = {name: values[these] for name, values in inputs.columns.items() if name not in alone}
    names = {"class_names": np.array(predictor.class_names)}
    return made | names | {choosing.prefixed(name, made, choosing.OWN): values for name, values in own.items()}


def save(predictor: "Predictor", file: str, inputs: Inputs, how: How) -> Saved:
    """Writes the rows of examples into a file, part by part (`predicting.parts`).

    Raises:
      InputError: there is another file, or no such column; nothing is written then. Or an example cannot be read.
    """
    check(predictor, how)
    form = formats.of_file(file)
    if form.raw and (how.columns or how.top_k > 1):
        raise InputError(f"--save={file}: arrays hold all there is; leave --columns and --top_k out")
    size = predictor.batch(how.batch_size)
    step = size if predictor.run.task.generates else max(1, PART // size) * size
    whole = parts.Parts(Path(os.path.abspath(file)), form, _about(predictor, inputs, how, size), inputs.size, step)
    done = parts.done(whole)
    if done is None:
        return Saved(inputs.size, None)
    if done:
        say(f"{done * step if done < whole.count else inputs.size:,} examples are done already", file=sys.stderr)
    report, errors, make = progress.reporter(inputs.size, done * step), 0, raw_columns if form.raw else columns_of
    if done < whole.count:
        asked = {"batch": how.batch_size, "features": how.features, "broken": how.broken}
        for part in predictor.parts(inputs, start=done * step, rows=step, **asked):
            number = part.start // step
            content = form.encode(make(predictor, inputs, part, how), number == 0)
            parts.write(whole, number, content)
            errors += len(part.errors)
            report(part.start + part.size)
            stopping.check()
    parts.end(whole)
    return Saved(inputs.size, errors)


def _about(predictor: "Predictor", inputs: Inputs, how: How, batch: int) -> dict[str, Any]:
    """What the rows of a file depend on."""
    run = predictor.run
    return {
        "run": os.fspath(run.folder),
        "step": checkpoint.resolve(run.folder, run.step(predictor.step)),
        "adapters": str(predictor.adapters or ""),
        "temperature": predictor.temperature,
        "tta": predictor.tta,
        "examples": inputs.size,
        "inputs": inputs.digest,
        "columns": list(how.columns),
        "top_k": how.top_k,
        "features": how.features,
        "broken": how.broken,
        "batch_size": batch,
    }


def stream(
    predictor: "Predictor", lines: Iterable[str], how: How
) -> Iterator[tuple[list[str], Table | None, dict[str, Any]]]:
    """Yields, for lines that have come, the lines that could be read, their table, and the columns of all.

    A line that is alone is answered at once; of those that wait, up to 16 are predicted together.
    """
    check(predictor, how)
    column = ""
    for some in waiting.batches(lines, predictor.most):
        column = column or column_of(predictor.run.modality, some[:1])
        examples, errors = {}, {}
        for i, line in enumerate(some):
            try:
                examples[i] = predictor.run.modality.read(line, predictor.run.task)
            except InputError as error:
                if how.broken == "stop":
                    raise
                errors[i] = str(error)
        if not examples:
            yield [], None, {column: some, choosing.ERROR: [errors[i] for i in range(len(some))]}
            continue
        any_one = next(iter(examples.values()))
        given = Inputs(some, lambda i, these=examples, other=any_one: these.get(i, other), {column: some}, "")
        batch = 1 if len(some) == 1 else predictor.most
        (part,) = predictor.parts(given, rows=len(some), batch=batch, features=how.features)
        part = part._replace(errors=errors)
        there = list(examples)
        table = {name: np.asarray(array)[there] for name, array in part.table.items()}
        yield [some[i] for i in there], table, columns_of(predictor, given, part, how)
