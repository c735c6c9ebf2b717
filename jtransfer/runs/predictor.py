"""Predictions by a run's model, loaded and compiled once for any number of calls."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer import data
from jtransfer.core import sharding
from jtransfer.core.errors import InputError, unknown
from jtransfer.evaluators import gather
from jtransfer.modalities import faces
from jtransfer.models import forward
from jtransfer.predicting import inputs as given_inputs
from jtransfer.predicting.inputs import Inputs
from jtransfer.predicting.reading import Reading
from jtransfer.runs import measure, predicted, written
from jtransfer.runs.extraction import pooled
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run
from jtransfer.runs.predicted import Part
from jtransfer.runs.stream import spec_of
from jtransfer.tasks import Table
from jtransfer.training.view_step import make_view_step
from jtransfer.weights.adapters import attach as attaching

BATCH = 16  # examples at once, at most, where no number is given


class Predictor:
    """A run's model, ready to predict.

    Its parameters are read at the first call. Calls with as many examples, or more than 16, share one compilation.

    Attributes:
      run: the run.
      class_names: the names of the classes, in order.
      temperature: what its logits are divided by (`StoredRun.temperature`); 1 with other adapters than its own.
      tta: the views that predictions are averaged over (`Modality.make_views`); "" for none.
      step, adapters: as they were given.
    """

    most = BATCH

    def __init__(self, run: StoredRun, step: int | str | None = None, adapters: attaching.Sources = (), tta: str = ""):
        """A predictor of a run.

        Args:
          run: the run.
          step: as `StoredRun.variables` takes it.
          adapters: of the run's model, as `weights.restore` takes them.
          tta: what views predictions are averaged over, such as "flip_lr"; "" for none.

        Raises:
          InputError: there are no such views.
        """
        self.run, self.class_names, self.tta, self.step, self.adapters = run, run.class_names, tta, step, adapters
        self.temperature = 1.0 if adapters else run.temperature(step)
        self._transform = (
            faces.make_evaluation(run.modality, run.task, run.model, tta) if tta or not run.task.generates else None
        )
        self._mesh = sharding.make_mesh({sharding.DATA: -1}, jax.local_devices())
        self._steps: dict[str, Callable] = {}

    @functools.cached_property
    def _variables(self) -> dict:
        variables = self.run.variables(self.step)
        if self.adapters:
            sample = None if self.run.inputs is None else self.run.sample
            variables = attaching.attach(self.run.model, variables, self.adapters, sample=sample)[0]
        return jax.tree.map(sharding.place, variables, sharding.of_params(variables, self._mesh, "replicate"))

    def __call__(self, given: Sequence[str]) -> Table:
        """What the run's task keeps of each example, as arrays [N, …].

        Args:
          given: what the modality reads: paths of image files, texts, …. Each is prepared as the run prepared its
            examples for evaluation.

        Returns:
          `probs` float32 [N, C] of classes, `logits`, `predicted`, `embeddings`; or `written`, strings [N], where the
          task generates.

        Raises:
          InputError: an example is missing or cannot be read, or the run has no such step.
        """
        examples = given_inputs.lines(self.reader, given)
        batch = len(given) if self.run.task.generates else min(BATCH, len(given))
        (part,) = self.parts(examples, rows=len(given), batch=batch)
        return part.table

    def lines(self, given: Sequence[str], table: Table) -> list[str]:
        """A line of text for each example: what `predict` prints."""
        task = self.run.task
        if task.lines is None:
            raise InputError(f"task={task.name!r} does not say how its predictions are printed; --save them")
        return list(task.lines(given, table, self.class_names))

    @property
    def reader(self) -> given_inputs.Reader:
        """How what is given is read."""
        return given_inputs.Reader(self.run.modality, self.run.task, self.run.config.data.to_dict())

    def rows(self, *given: Any, data: str = "", split: str = "all", **how: Any) -> Iterator[dict[str, Any]]:
        """Yields a dict for each example: its own columns, and what is predicted of it.

            for row in predictor.rows("photos/", columns=["id", "label"]):
                print(row["id"], row["label"])

        Args:
          *given: files, folders, patterns, tables, texts, or dicts that are rows of a table, as
            `predicting.inputs.given` takes them.
          data: in their place, the name of a data set, as in `config.data.name`.
          split: of the data set, as an expression.
          **how: fields of `predicted.How`: `columns`, `top_k`, `features`, `broken` and `batch_size`.

        Raises:
          InputError: there is no such file, data set, column or stage, or an example cannot be read.
        """
        return predicted.rows(self, self.inputs(given, data=data, split=split), predicted.How(**how))

    def save(self, file: str | os.PathLike, *given: Any, data: str = "", split: str = "all", **how: Any) -> int:
        """Writes the same into a file, and returns the number of rows; where it was stopped, the same call goes on.

        Args:
          file: a path that ends in .csv, .jsonl, .parquet or .npz.
          *given: as for `rows`.
          data: as for `rows`.
          split: as for `rows`.
          **how: as for `rows`.

        Raises:
          InputError: as for `rows`; or there is another file already.
        """
        examples = self.inputs(given, data=data, split=split)
        return predicted.save(self, os.fspath(file), examples, predicted.How(**how)).rows

    def stream(self, lines: Iterable[str], **how: Any) -> Iterator[dict[str, Any]]:
        """Yields the rows of lines as they come, each what the modality reads; there may be no end of them.

        Args:
          lines: the lines; a thread waits for them.
          **how: as for `rows`.

        Raises:
          InputError: as for `rows`.
        """
        for _, _, columns in predicted.stream(self, lines, predicted.How(**how)):
            yield from predicted.as_rows(columns)

    def inputs(self, given: Sequence[Any] = (), *, data: str = "", split: str = "all") -> Inputs:
        """The examples that arguments stand for (`predicting.inputs.given`), or those of a data set.

        Args:
          given: the arguments.
          data: the name of a data set, as in `config.data.name`, in their place.
          split: of the data set, as an expression.

        Raises:
          InputError: there is no such file, data set or split.
        """
        if not data:
            return given_inputs.given(self.reader, given)
        if given:
            raise InputError(f"give either --data={data} or examples, such as {str(given[0])!r:.80}")
        spec = spec_of(self.run.config.data, self.run.config.modality, self.run.config.task)
        source = _open(spec | {"name": data}, split)
        self.run.modality.check(self.run.task, source[0])
        return given_inputs.of_source(source, f"{data}, {split}")

    def parts(
        self, inputs: Inputs, *, start: int = 0, rows: int = 0, batch: int = 0, features: str = "", broken: str = "stop"
    ) -> Iterator[Part]:
        """The predictions for examples, in order, part by part.

        Args:
          inputs: the examples.
          start: the first one.
          rows: how many make up a part, a multiple of the batch; 0 is one batch.
          batch: examples at once; 0 is what the run's evaluations take. It is rounded up to a multiple of the devices.
          features: a stage, or the path of a submodule, of whose output each example gets the vector "features", the
            mean over places; "" for none.
          broken: "stop", where an example that cannot be read is an error, or "skip".

        Raises:
          InputError: an example cannot be read, or there is no such stage.
        """
        self.check(features, broken)
        size = self.batch(batch)
        reading = Reading(inputs, start, broken == "skip")
        if self.run.task.generates:
            yield from self._written(inputs, reading, rows or size, size)
            return
        step, blank = self._step_of(features), {"label": self.run.task.blank(len(self.class_names))}
        source = data.Source(
            size=inputs.size - start,
            read=lambda i: blank | reading(i),
            class_names=self.class_names,
            read_labels=lambda first, last: np.zeros(last - first, np.int32),
        )
        threads = self.run.config.data.threads
        batches = data.eval_batches(source, self._transform, size, threads=threads)
        per_part = max(1, -(-rows // size))
        for at in range(0, source.size, per_part * size):
            some = (sharding.put_batch(one, self._mesh) for one in itertools.islice(batches, per_part))
            kept = gather(step, self._variables, some)
            yield self._part(start + at, min(per_part * size, source.size - at), at, kept, reading.errors)

    def check(self, features: str, broken: str) -> None:
        """Raises InputError if there is no such stage, or the word does not say what becomes of broken examples."""
        stages = forward.stages(self.run.model)
        if features and self.run.task.generates:
            raise InputError(f"task={self.run.task.name!r} writes texts; leave --features out")
        if features and stages and features not in stages:
            raise unknown("stage", features, stages)
        if broken not in ("stop", "skip"):
            raise unknown("--broken", broken, ("stop", "skip"))

    def batch(self, batch: int = 0) -> int:
        """The number of examples at once: that number, or the run's, as a multiple of the devices."""
        wanted = batch or self.run.config.eval_batch_size or self.run.config.batch_size
        return -(-wanted // self._mesh.size) * self._mesh.size

    def _part(self, first: int, size: int, at: int, kept: dict, errors: Mapping[int, str]) -> Part:
        features = {"features": kept.pop("features").astype(np.float32)} if "features" in kept else {}
        table = self.run.task.finish(_at(self.temperature, kept)) | features
        return Part(first, size, table, {i - at: errors[i] for i in range(at, at + size) if i in errors})

    def _step_of(self, stage: str) -> Callable:
        if stage not in self._steps:
            run, temperature = self.run, self.temperature
            average = run.task.average
            self._steps[stage] = jax.jit(
                make_view_step(
                    run.model,
                    preprocess=faces.make_preprocess(run.modality, run.model, train=False),
                    keep=run.task.keep,
                    average=(lambda outputs: average(outputs, temperature)) if self.tta and average else None,
                    stage=stage,
                    pool=pooled,
                )
            )
        return self._steps[stage]

    def _written(self, inputs: Inputs, reading: Reading, rows: int, size: int) -> Iterator[Part]:
        run = self.run
        how = run.modality.writing(run.task, run.model, run.config.generate.fields.to_dict())
        key, left = jax.random.key(run.config.seed), inputs.size - reading.start
        made = written.texts(run.model, self._variables, how, inputs.names[reading.start :], size, key, self._mesh)
        for at in range(0, left, rows):
            whole = min(rows, left - at)
            errors = {i: reading.errors[at + i] for i in range(whole) if not reading.is_whole(at + i)}
            found = np.array(list(itertools.islice(made, whole)))
            yield Part(reading.start + at, whole, {"written": found}, errors)


def _open(spec: Mapping[str, Any], split: str) -> data.Source:
    return data.open(spec, split)


def _at(temperature: float, table: Table) -> Table:
    if temperature == 1 or "logits" not in table:
        return table
    return {**table, "logits": table["logits"] / np.float32(temperature)}


def load(
    folder: str | os.PathLike,
    step: int | str | None = None,
    adapters: attaching.Sources = (),
    tta: str = "",
    **fields: Any,
) -> Predictor:
    """The predictor of a run's folder. Arguments and errors as for `Predictor` and `runs.open`.

    Args:
      folder, step, adapters, tta: as there.
      **fields: fields of `config.data` in place of the run's, such as `image_dir="photos"`.
    """
    return Predictor(measure.with_data(open_run(folder), fields), step, adapters, tta)
