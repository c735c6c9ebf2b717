"""What a model is given that is made of several, each of which takes the input as its own preprocessing makes it."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from jtransfer.modalities.base import Modality, Transform
from jtransfer.models.chain import Chain
from jtransfer.tasks.base import Task


def of(model: Any) -> dict[str, Any]:
    """Returns the models that are given the data: those side by side in a model by their names, or "" → the model."""
    return getattr(model, "faces", {"": model}) if isinstance(model, Chain) else {"": model}


def make_transform(modality: Modality, task: Task, model: Any, *, train: bool) -> Transform:
    """Returns `Modality.make_transform` of a model, or, of several side by side, a transform to the inputs of all.

    Images are transformed for each model by itself, with the same random numbers. Of texts, which one tokenizer cuts,
    all models get the same.
    """
    made = {name: modality.make_transform(task, face, train=train) for name, face in of(model).items()}
    first, *others = made.values()
    if "" in made or hasattr(first, "collate"):
        return first

    def transform(example: Mapping[str, Any], rng: Any = None) -> dict[str, Any]:
        rows = [one(example, copy.deepcopy(rng)) for one in others]
        rows = [first(example, rng), *rows]
        return {**rows[0], "inputs": {name: row["inputs"] for name, row in zip(made, rows, strict=True)}}

    return transform


def make_preprocess(modality: Modality, model: Any, *, train: bool) -> Callable[[Any], Any]:
    """Returns `Modality.make_preprocess` of a model, or, of several side by side, the function to the inputs of all."""
    made = {name: modality.make_preprocess(face, train=train) for name, face in of(model).items()}
    if "" in made:
        return made[""]
    return lambda x: {name: one(x[name] if set(x) == set(made) else x) for name, one in made.items()}
