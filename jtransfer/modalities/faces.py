"""What a model is given that is made of several, each of which takes the input as its own preprocessing makes it."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jtransfer.core.errors import InputError
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
    return _together({name: modality.make_transform(task, face, train=train) for name, face in of(model).items()})


def make_evaluation(modality: Modality, task: Task, model: Any, tta: str = "") -> Transform:
    """Returns the transform for evaluation: to one view of an example, or, stacked, to those that `tta` names.

    Raises:
      InputError: There are no such views, or the outputs of the task have no average.
    """
    if not tta:
        return make_transform(modality, task, model, train=False)
    if task.average is None:
        raise InputError(f"tta={tta!r}: what task={task.name!r} predicts has no average over views; leave it out")
    return make_views(modality, task, model, tta)


def make_views(modality: Modality, task: Task, model: Any, how: str) -> Transform:
    """Returns a transform to the views of an example that `Modality.make_views` has, stacked: inputs [V, …].

    Raises:
      InputError: There are no such views, or they differ in shape.
    """
    each = {name: modality.make_views(how, task, face) for name, face in of(model).items()}
    views = [_together(dict(zip(each, several, strict=True))) for several in zip(*each.values(), strict=True)]

    def transform(example: Mapping[str, Any], rng: Any = None) -> dict[str, Any]:
        rows = [view(example, copy.deepcopy(rng)) for view in views]
        shapes = {tuple(map(np.shape, jax.tree.leaves(row["inputs"]))) for row in rows}
        if len(shapes) > 1:
            raise InputError(f"tta={how!r}: the views of an image that is not square have several shapes")
        return {**rows[0], "inputs": jax.tree.map(lambda *leaves: np.stack(leaves), *(row["inputs"] for row in rows))}

    return transform


def _together(made: Mapping[str, Transform]) -> Transform:
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
