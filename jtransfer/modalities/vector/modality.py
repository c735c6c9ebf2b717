"""Vectors: numbers [d], standardised by statistics that travel with the run."""

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
from jtransfer.tasks.base import Task

FILE = "vector.json"  # in a run's folder
SOURCES = ("train", "init", "none")


@dataclasses.dataclass(frozen=True)
class Vector(Modality):
    """Vectors of numbers, such as measurements, rows of a table or extracted features.

    Attributes:
      columns: of a table, separated by commas; "" is all but the label.
      statistics: whose mean and standard deviation the numbers are standardised by: "train", those of the training
        split; "init", those of the run that this one begins with; "none" leaves the numbers as they are.
      mean, std: float32 [d].
    """

    kind: ClassVar[str] = "vector"
    nouns: ClassVar[tuple[str, str]] = ("vector", "vectors")
    mixes: ClassVar[tuple[str, ...]] = ("mixup",)

    columns: str = ""
    statistics: str = "train"
    mean: np.ndarray | None = dataclasses.field(default=None, metadata=STATE)
    std: np.ndarray | None = dataclasses.field(default=None, metadata=STATE)

    @classmethod
    def accepts(cls, example: Mapping[str, Any]) -> bool:
        return "vector" in example

    def open(self, places: Sequence[weights.Source], source: Source) -> "Vector":
        """The modality with its statistics: those in the run's folder, else those that `statistics` names."""
        if self.statistics not in SOURCES:
            raise unknown("data.statistics", self.statistics, SOURCES)
        folder, init = places
        kept = _kept(folder)
        if kept is None and self.statistics == "init":
            kept = _kept(init)
            if kept is None:
                raise InputError(f"data.statistics='init', but {init} is no run on vectors; take 'train' or 'none'")
        mean, std = kept or _computed(source, standardise=self.statistics == "train")
        return dataclasses.replace(self, mean=mean, std=std)

    def save(self, folder: str | os.PathLike) -> None:
        place = place_of(folder)
        assert place is not None
        assert self.mean is not None
        assert self.std is not None
        content = {"mean": self.mean.tolist(), "std": self.std.tolist()}
        (place / FILE).write_text(json.dumps(content) + "\n")

    def model_fields(self, model: Any, init: str) -> dict[str, Any]:
        assert self.mean is not None
        return {"num_features": len(self.mean)} if hasattr(model, "num_features") else {}

    def make_transform(self, task: Task, model: Any, *, train: bool) -> Transform:
        if task.form != "single":
            raise no_form(self, task)
        return lambda example, rng=None: {"inputs": example["vector"], "label": example.get("label", 0)}

    def make_preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        mean, std = jnp.asarray(self.mean), jnp.asarray(self.std)
        dtype = getattr(model, "dtype", None) or jnp.float32
        return lambda x: ((x - mean) / std).astype(dtype)

    def read(self, given: str, task: Task) -> dict[str, Any]:
        """The vector of a file `.npy`, or of numbers separated by commas."""
        try:
            values = np.load(given) if os.path.isfile(given) else np.array([float(part) for part in given.split(",")])
        except ValueError as error:
            raise InputError(f"{given!r:.80} is neither a .npy file nor numbers separated by commas: {error}") from None
        assert self.mean is not None
        if values.shape != self.mean.shape:
            raise InputError(
                f"{given!r:.80} has the shape {list(values.shape)}; the run takes {len(self.mean)} numbers"
            )
        return {"vector": values.astype(np.float32)}

    def show(self, example: Mapping[str, Any]) -> dict[str, Any]:
        numbers = example["vector"]
        more = f", … ({len(numbers)} numbers)" if len(numbers) > 8 else ""
        return {"text": ", ".join(f"{number:.3g}" for number in numbers[:8]) + more}


def _kept(folder: weights.Source) -> tuple[np.ndarray, np.ndarray] | None:
    place = place_of(folder) if isinstance(folder, str | os.PathLike) else None
    if place is None or not (place / FILE).exists():
        return None
    content = json.loads((place / FILE).read_text())
    return np.array(content["mean"], np.float32), np.array(content["std"], np.float32)


def _computed(source: Source, *, standardise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the training examples, in float64; a constant number keeps its scale."""
    width = len(source[0]["vector"])
    if not standardise:
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    every = np.stack([source[i]["vector"] for i in range(len(source))]).astype(np.float64)
    std = every.std(0)
    return every.mean(0).astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)
