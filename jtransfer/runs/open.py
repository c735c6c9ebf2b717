"""`runs.open`: the one reader of a run's folder."""

import contextlib
import dataclasses
import functools
import os
import sys
from typing import Any

import jax
import numpy as np
from etils import epath

from jtransfer import data, metrics, modalities, peft
from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.place import run_folder
from jtransfer.core.show import say
from jtransfer.data import Source
from jtransfer.modalities import Modality, faces
from jtransfer.modalities.zeros import zero_sample
from jtransfer.runs import fingerprint, json_file, log, named_code, predictions, stored
from jtransfer.runs import folder as folders
from jtransfer.runs import model as models
from jtransfer.runs.stream import spec_of
from jtransfer.tasks import TASKS, Task
from jtransfer.training import checkpoint
from jtransfer.training.state import AUXILIARY


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """What a run's folder holds, each part read when it is first asked for, and then kept.

    Attributes:
      folder: the run's folder.
      config: the run's complete config; that of an earlier version with the names of today's fields.
    """

    folder: epath.Path
    config: Any

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The names of the classes, in order."""
        return self._classes.names

    @functools.cached_property
    def _classes(self) -> stored.Classes:
        return stored.classes(self.folder)

    @functools.cached_property
    def task(self) -> Task:
        """What the model was trained to do."""
        return TASKS[self.config.task]

    @functools.cached_property
    def modality(self) -> Modality:
        """The kind of input, with its files read from the folder."""
        fingerprint.check_kept(self.folder)
        kind = modalities.MODALITIES[self.config.modality]
        return modalities.of_config(kind, self.config.data).open((self.folder, self.config.init), NO_EXAMPLES)

    @functools.cached_property
    def model(self) -> Any:
        """The model, without variables."""
        return models.create(self.config, self.modality, len(self.class_names))

    @functools.cached_property
    def inputs(self) -> Any:
        """Zeros of the shapes of a batch's `inputs`; None for a model that makes a sample itself."""
        return self._classes.inputs

    @functools.cached_property
    def sample(self) -> Any:
        """Zeros of the shapes of the model's input, a batch of one."""
        if self.inputs is None:
            return self.model.example_input(1)
        return zero_sample(faces.make_preprocess(self.modality, self.model, train=False), self.inputs)

    def step(self, step: int | str | None = None) -> int | str:
        """A step as it is given, or, if it is None, the name of that of the run's model: "best" or "last"."""
        if step is not None:
            return step
        return "last" if self.config.model_selection == "last" else "best"

    def variables(self, step: int | str | None = None) -> dict:
        """The model's variables as host arrays, merged with what was frozen. Adapters are a collection among them,
        "adapters", which `models.forward.apply` applies, and the model's own `apply` does not. Kernels that the
        run holds in fewer bits are float32.

        Args:
          step: a step that was kept, "best" or "last", as for `checkpoint.load_params`; None is the run's model, which
            `config.model_selection` tells.

        Raises:
          InputError: there is no such step, or it is damaged; or the run holds no copy of what was frozen, and its init
            is gone or is not what it was.
        """
        loaded = checkpoint.load_params(self.folder, self.step(step))
        return _with_kernels({name: tree for name, tree in loaded.items() if name not in AUXILIARY})

    def merged(self, step: int | str | None = None) -> dict:
        """The model's variables with its adapters merged into the parameters, so that the model's own `apply` computes
        what was trained; without adapters, `variables(step)`.

        Args:
          step: as for `variables`.

        Raises:
          InputError: as for `variables`; or an adapter can't be merged.
        """
        held = self.variables(step)
        adapters = held.pop("adapters", None)
        if adapters is None:
            return held
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), held["params"])
        sites = peft.sites(self.model, held, self.sample)
        return {**held, "params": jax.tree.map(np.asarray, peft.merge(wide, adapters, sites))}

    def temperature(self, step: int | str | None = None) -> float:
        """The number that the logits of the run's model are divided by, so that its probabilities are calibrated: what
        the evaluator "calibration" found when the model was tested. It is 1 where there was none, and of any step that
        is not named as that of the run's model.

        Raises:
          InputError: there was one, and the log is gone or damaged.
        """
        asked = any(entry.name == "calibration" and entry.split == "test" for entry in self.config.evals)
        if not asked or self.step(step) != self.step():
            return 1.0
        return log.temperature(self.lines)

    @property
    def lines(self) -> list[dict]:
        """The lines of the run's log, in order.

        Raises:
          InputError: there is no log, or a line of it is broken.
        """
        try:
            return log.read(self.folder)
        except FileNotFoundError:
            raise InputError(f"{self.folder} is not the folder of a run: {log.FILE} is missing") from None

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, devices and the command line; empty where that is not known."""
        path = self.folder / folders.ENVIRONMENT
        return {} if whole_file.problem(path) == "is missing" else json_file.read(path)

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        """The arrays of the last evaluation on the test split; none before there was one.

        Raises:
          InputError: the file can't be read.
        """
        return predictions.read(self.folder)

    @functools.cached_property
    def added_metrics(self) -> list[metrics.Metric]:
        """The metrics of `config.metrics`; a user's file that is gone is passed over."""
        found = []
        for name in self.config.metrics:
            with contextlib.suppress(InputError):
                found.append(metrics.load(name))
        return found

    def metric(self, name: str) -> metrics.Metric:
        """What is known of a metric of this run by its name."""
        return next((metric for metric in self.added_metrics if metric.name == name), metrics.get(name))

    def source(self, split: str) -> Source:
        """The examples of a split of `config.data`, by name; before they are packed.

        Raises:
          InputError: the data set is gone, or has no such split.
        """
        spec = spec_of(self.config.data, self.config.modality, self.config.task)
        return data.open(spec, self.config.data[split])


def _with_kernels(variables: dict) -> dict:
    if "quantized" not in variables:
        return variables
    return jax.tree.map(np.asarray, peft.dequantize(variables))


def _none(*_: Any) -> Any:
    raise InputError("a run's folder holds no examples")


_TOLD: set[str] = set()  # code that a run's config names, and that was told of
NO_EXAMPLES = Source(0, _none, [], _none, "none")


def open(folder: str | os.PathLike) -> StoredRun:
    """A run's folder, here or in a bucket; its config is read and completed at once.

    Raises:
      InputError: the folder is no run's, its config is damaged or of a later version, or it names code that came with
        the folder, which is not run.
    """
    path = run_folder(folder)
    run = StoredRun(path, stored.config(path))
    for line in named_code.check(path, run.config.to_dict()):
        if line not in _TOLD and not _TOLD.add(line) and jax.process_index() == 0:
            say(f"{folder} names code, which is run: {line}", file=sys.stderr)
    for name in named_code.named_models(run.config.model.to_dict()):
        named_code.check_model(path, name)
    peft.remember(run.config.adapters)
    return run
