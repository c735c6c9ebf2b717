"""Vectors of numbers, standardised on the device by statistics that travel with the run."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jtransfer import weights
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.place import place_of
from jtransfer.data import Source
from jtransfer.modalities.base import STATE, Modality, Transform, no_form
from jtransfer.modalities.vector.given import vector_of
from jtransfer.modalities.vector.standardise import FILE, Statistics, compute, neutral, of_run, of_weights
from jtransfer.tasks.base import Task

SOURCES = ("train", "init", "none")
SHOWN = 8  # numbers of a vector that a report shows


@dataclasses.dataclass(frozen=True)
class Vector(Modality):
    """Vectors of numbers, such as measurements, rows of a table or extracted features.

    Attributes:
      columns: the columns of a table that make up the vector, separated by commas; "" is all but the label.
      statistics: whose mean and standard deviation the numbers are standardised by: "train", those of the training
        split; "init", those that the run which this one begins with was standardised by; "none" leaves the numbers as
        they are.
      mean, std: float32 [d]. The model sees `(vector - mean) / std`.
    """

    kind: ClassVar[str] = "vector"
    nouns: ClassVar[tuple[str, str]] = ("vector", "vectors")
    mixes: ClassVar[tuple[str, ...]] = ("mixup",)
    files: ClassVar[tuple[str, ...]] = (FILE,)

    columns: str = ""
    statistics: str = "train"
    mean: np.ndarray | None = dataclasses.field(default=None, metadata=STATE)
    std: np.ndarray | None = dataclasses.field(default=None, metadata=STATE)

    @classmethod
    def accepts(cls, example: Mapping[str, Any]) -> bool:
        return "vector" in example

    def open(self, places: Sequence[weights.Source], source: Source) -> "Vector":
        """The modality with its statistics: those in the run's folder, else those that `statistics` names.

        Raises:
          InputError: there is no such choice, no statistics beside `init`, or they are of vectors of another length.
        """
        if self.statistics not in SOURCES:
            raise unknown("data.statistics", self.statistics, SOURCES)
        folder, init = places
        found = of_run(folder) if isinstance(folder, str | os.PathLike) else None
        if found is None and self.statistics == "init":
            found = of_weights(init)
            if found is None:
                raise InputError(f"data.statistics='init', but {init} is no run on vectors; take 'train' or 'none'")
        if found is None and not len(source):
            raise InputError(f"{folder} has no {FILE}, which holds the run's statistics; copy it from where it is")
        if found is None:
            found = compute(source) if self.statistics == "train" else neutral(source)
        if len(source) and (width := len(source[0]["vector"])) != len(found.mean):
            raise InputError(
                f"the vectors have {width} numbers, but data.statistics={self.statistics!r} has those of "
                f"{len(found.mean)}; take data.statistics='train'"
            )
        return dataclasses.replace(self, mean=found.mean, std=found.std)

    def save(self, folder: str | os.PathLike) -> None:
        place = place_of(folder)
        assert place is not None
        mean, std = self._statistics()
        (place / FILE).write_text(json.dumps({"mean": mean.tolist(), "std": std.tolist()}) + "\n")

    def model_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        return {"num_features": len(self._statistics().mean)} if hasattr(model, "num_features") else {}

    def make_transform(self, task: Task, model: Any, *, train: bool) -> Transform:
        if task.form != "single":
            raise no_form(self, task)
        return lambda example, rng=None: {
            "inputs": np.asarray(example["vector"], np.float32),
            "label": example.get("label", 0),
        }

    def make_preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        mean, std = map(jnp.asarray, self._statistics())
        dtype = getattr(model, "dtype", None) or jnp.float32
        return lambda x: ((x - mean) / std).astype(dtype)

    def read(self, given: str, task: Task) -> dict[str, Any]:
        """The vector of a `.npy` file, or of numbers separated by commas."""
        return {"vector": vector_of(given, len(self._statistics().mean))}

    def show(self, example: Mapping[str, Any]) -> dict[str, Any]:
        numbers = example["vector"]
        more = f", … ({len(numbers)} numbers)" if len(numbers) > SHOWN else ""
        return {"text": ", ".join(f"{number:.3g}" for number in numbers[:SHOWN]) + more}

    def _statistics(self) -> Statistics:
        assert self.mean is not None, "open the modality first"
        assert self.std is not None
        return Statistics(self.mean, self.std)
