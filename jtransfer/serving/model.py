"""The model of a run as a server needs it: an example at a time on the host, a batch at a time on the device."""

import functools
from typing import Any

import jax
import numpy as np

from jtransfer.evaluators import gather
from jtransfer.modalities import faces
from jtransfer.runs.open import StoredRun
from jtransfer.runs.predictor import Predictor
from jtransfer.tasks import Table
from jtransfer.training import step as steps
from jtransfer.weights.adapters import attach as attaching


class Model:
    """A run's model, whose parts are made when they are first used.

    Attributes:
      run: The run.
      predictor: What `predict` has of it, which writes texts where the task generates them.
    """

    def __init__(self, run: StoredRun, step: int | str | None = None, adapters: attaching.Sources = ()):
        """A model. The arguments are those of `runs.predictor.Predictor`."""
        self.run, self.predictor = run, Predictor(run, step, adapters)
        self._step, self._adapters = step, adapters

    def read(self, given: str) -> dict[str, Any]:
        """Returns the example of what is given, with a label that stands in for the unknown one.

        Raises:
          InputError: It cannot be read.
        """
        blank = {"label": self.run.task.blank(len(self.run.class_names))}
        return blank | self.run.modality.read(given, self.run.task)

    @functools.cached_property
    def transform(self) -> Any:
        """The function from an example to its row of a batch."""
        return faces.make_transform(self.run.modality, self.run.task, self.run.model, train=False)

    @functools.cached_property
    def variables(self) -> dict:
        """The model's variables, with the adapters, on the device."""
        variables = self.run.variables(self._step)
        if self._adapters:
            sample = None if self.run.inputs is None else self.run.sample
            variables = attaching.attach(self.run.model, variables, self._adapters, sample=sample)[0]
        return jax.device_put(variables)

    @functools.cached_property
    def _compiled(self) -> Any:
        preprocess = faces.make_preprocess(self.run.modality, self.run.model, train=False)
        return jax.jit(steps.make_eval_step(self.run.model, preprocess=preprocess, keep=self.run.task.keep))

    def table(self, batch: dict) -> Table:
        """Returns what the run's task keeps of the examples of a batch, as `predict` does."""
        kept = gather(self._compiled, self.variables, [batch])
        if "logits" in kept and self.predictor.temperature != 1:
            kept["logits"] = kept["logits"] / np.float32(self.predictor.temperature)
        return self.run.task.finish(kept)
