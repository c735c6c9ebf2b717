"""Predictions by a run's model, loaded and compiled once for any number of calls."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer import data, generate
from jtransfer.core.errors import InputError
from jtransfer.evaluators import gather
from jtransfer.modalities import faces
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run
from jtransfer.tasks import Table
from jtransfer.training import step as steps
from jtransfer.weights.adapters import attach as attaching

BATCH = 16  # examples at once, at most


class Predictor:
    """A run's model, ready to predict.

    Its parameters are read at the first call. Calls with as many examples, or more than 16, share one compilation.

    Attributes:
      run: the run.
      class_names: the names of the classes, in order.
      temperature: what its logits are divided by (`StoredRun.temperature`); 1 with other adapters than its own.
    """

    def __init__(self, run: StoredRun, step: int | str | None = None, adapters: attaching.Sources = ()):
        """A predictor of a run.

        Args:
          run: the run.
          step: as `StoredRun.variables` takes it.
          adapters: of the run's model, as `weights.restore` takes them.
        """
        self.run, self.class_names, self._step, self._adapters = run, run.class_names, step, adapters
        self.temperature = 1.0 if adapters else run.temperature(step)
        self._make = self._writer() if run.task.generates else self._evaluator()

    @functools.cached_property
    def _variables(self) -> dict:
        variables = self.run.variables(self._step)
        if not self._adapters:
            return variables
        sample = None if self.run.inputs is None else self.run.sample
        return attaching.attach(self.run.model, variables, self._adapters, sample=sample)[0]

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
        self.run.modality.check_given(given)
        return self._make(given)

    def lines(self, given: Sequence[str], table: Table) -> list[str]:
        """A line of text for each example: what `predict` prints."""
        task = self.run.task
        if task.lines is None:
            raise InputError(f"task={task.name!r} does not say how its predictions are printed; --save them")
        return list(task.lines(given, table, self.class_names))

    def _evaluator(self) -> Callable[[Sequence[str]], Table]:
        run = self.run
        task, modality, model = run.task, run.modality, run.model
        transform = faces.make_transform(modality, task, model, train=False)
        preprocess = faces.make_preprocess(modality, model, train=False)
        step = jax.jit(steps.make_eval_step(model, preprocess=preprocess, keep=task.keep))
        blank = {"label": task.blank(len(self.class_names))}

        def predict(given: Sequence[str]) -> Table:
            source = data.Source(
                size=len(given),
                read=lambda i: blank | modality.read(given[i], task),
                class_names=self.class_names,
                read_labels=lambda start, stop: np.zeros(stop - start, np.int32),
            )
            batches = data.eval_batches(source, transform, min(BATCH, len(given)), threads=run.config.data.threads)
            return task.finish(_at(self.temperature, gather(step, self._variables, batches)))

        return predict

    def _writer(self) -> Callable[[Sequence[str]], Table]:
        run = self.run
        how = run.modality.writing(run.task, run.model, run.config.generate.fields.to_dict())
        key = jax.random.key(run.config.seed)

        def predict(given: Sequence[str]) -> Table:
            generated = generate.generate(run.model, self._variables, how.inputs(given), how.settings, key)
            return {"written": how.decoded(np.asarray(generated.tokens), np.asarray(generated.lengths))}

        return predict


def _at(temperature: float, table: Table) -> Table:
    if temperature == 1 or "logits" not in table:
        return table
    return {**table, "logits": table["logits"] / np.float32(temperature)}


def load(folder: str | os.PathLike, step: int | str | None = None, adapters: attaching.Sources = ()) -> Predictor:
    """The predictor of a run's folder. Arguments and errors as for `Predictor` and `runs.open`."""
    return Predictor(open_run(folder), step, adapters)


def as_arrays(table: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What `predict --save` writes of a table."""
    return {name: np.asarray(array) for name, array in table.items() if name not in ("label", "index")}
