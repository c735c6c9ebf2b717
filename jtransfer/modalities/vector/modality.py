"""The modality of vectors of numbers, standardised on the device by statistics that are kept with the run."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jtransfer import weights
from jtransfer.core import whole_file
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.place import place_of
from jtransfer.data import Source
from jtransfer.modalities.base import STATE, Modality, Transform, no_form
from jtransfer.modalities.returned import Plain
from jtransfer.modalities.vector import corruptions
from jtransfer.modalities.vector.given import GivenVectors
from jtransfer.modalities.vector.standardise import FILE, Statistics, compute, neutral, of_run, of_weights
from jtransfer.tasks.base import Task

SOURCES = ("train", "init", "none")
SHOWN = 8  # numbers of a vector that a report shows


@dataclasses.dataclass(frozen=True)
class Vector(GivenVectors, Modality):
    """Vectors of numbers, such as measurements, rows of a table, or features of another model.

    Attributes:
      columns: The columns of a table that make up the vector, separated by commas; "" takes all but the label.
      statistics: By which mean and standard deviation the vectors are standardised: "train", those of the training
        split; "init", those of the run that this one starts from; "none" leaves the vectors as they are.
      mean: float32 [d]. The model's input is `(vector - mean) / std`.
      std: float32 [d].
    """

    kind: ClassVar[str] = "vector"
    nouns: ClassVar[tuple[str, str]] = ("vector", "vectors")
    mixes: ClassVar[tuple[str, ...]] = ("mixup",)
    files: ClassVar[tuple[str, ...]] = (FILE,)
    prepares: ClassVar[tuple[str, ...]] = ("statistics",)
    corruptions: ClassVar[tuple[str, ...]] = tuple(corruptions.CORRUPTIONS)
    sent: ClassVar[tuple[str, ...]] = ("numbers", "file")
    pipelines: ClassVar[Mapping[str, str]] = {"classify": "tabular-classification", "regress": "tabular-regression"}

    columns: str = ""
    statistics: str = "train"
    mean: np.ndarray | None = dataclasses.field(default=None, metadata=STATE)
    std: np.ndarray | None = dataclasses.field(default=None, metadata=STATE)

    @classmethod
    def accepts(cls, example: Mapping[str, Any]) -> bool:
        return "vector" in example

    def open(self, places: Sequence[weights.Source], source: Source) -> "Vector":
        """Returns the modality with its statistics: those in the run's folder, or else those that `statistics` names.

        Args:
          places: The run's folder, and what the run starts from.
          source: The training examples.

        Raises:
          InputError: `statistics` is unknown, there are none beside `init`, or they are of vectors of another length.
        """
        if self.statistics not in SOURCES:
            raise unknown("data.statistics", self.statistics, SOURCES)
        folder, init = places
        statistics = of_run(folder) if isinstance(folder, str | os.PathLike) else None
        if statistics is None and self.statistics == "init":
            statistics = of_weights(init)
            if statistics is None:
                raise InputError(f"data.statistics='init', but {init} is no run on vectors; take 'train' or 'none'")
        if statistics is None and not len(source):
            raise InputError(f"{folder} has no {FILE}, which holds the run's statistics; copy it from where it is")
        if statistics is None:
            statistics = compute(source) if self.statistics == "train" else neutral(source)
        if len(source) and (width := len(source[0]["vector"])) != len(statistics.mean):
            raise InputError(
                f"the vectors have {width} numbers, but data.statistics={self.statistics!r} has those of "
                f"{len(statistics.mean)}; take data.statistics='train'"
            )
        return dataclasses.replace(self, mean=statistics.mean, std=statistics.std)

    def save(self, folder: str | os.PathLike) -> None:
        place = place_of(folder)
        assert place is not None
        mean, std = self._statistics()
        content = json.dumps({"mean": mean.tolist(), "std": std.tolist()}) + "\n"
        whole_file.write(place / FILE, content.encode())

    def model_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        return {"num_features": len(self._statistics().mean)} if hasattr(model, "num_features") else {}

    def without_init(self, init: str) -> dict[str, Any]:
        return {"statistics": "train" if self.statistics == "init" else self.statistics}

    def small_model(self, example: Mapping[str, Any]) -> dict[str, Any]:
        return {"model.name": "mlp", "model.fields": {}}

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

    def blanks(self, task: Task) -> Sequence[str | bytes]:
        return [",".join(["0"] * len(self._statistics().mean))]

    def from_kept(self, folder: str | os.PathLike) -> dict[str, Any]:
        return {"statistics": "train"} if self.statistics == "init" else {}

    def corrupt(self, example: Mapping[str, Any], how: str, severity: int, rng: np.random.Generator) -> dict[str, Any]:
        vector = np.asarray(example["vector"], np.float32)
        return {**example, "vector": corruptions.CORRUPTIONS[how](vector, self._statistics(), severity, rng)}

    def plain_features(self, train: Sequence[Mapping[str, Any]]) -> Plain:
        mean, std = self._statistics()
        return Plain("the vectors", lambda examples: (np.stack([one["vector"] for one in examples]) - mean) / std)

    def show(self, example: Mapping[str, Any]) -> dict[str, Any]:
        numbers = example["vector"]
        more = f", … ({len(numbers)} numbers)" if len(numbers) > SHOWN else ""
        return {"text": ", ".join(f"{number:.3g}" for number in numbers[:SHOWN]) + more}

    def parts(self, inputs: Any) -> dict[str, Any]:
        named = [name.strip() for name in self.columns.split(",") if name.strip()]
        return {"names": named if len(named) == len(inputs) else [str(i) for i in range(len(inputs))]}

    def _statistics(self) -> Statistics:
        assert self.mean is not None, "open the modality first"
        assert self.std is not None
        return Statistics(self.mean, self.std)
