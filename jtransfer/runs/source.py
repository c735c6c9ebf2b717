"""The source task: what `config.init` was trained to do, with the head that it had and, where known, its data."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer import objectives, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.registry import is_address
from jtransfer.models import forward
from jtransfer.runs import folder as folders
from jtransfer.runs.open import open as open_run
from jtransfer.runs.stream import Stream, open_stream
from jtransfer.training.streams import HEADS, Head

NAME = "source"


class Known(NamedTuple):
    """What a run knows of its source task.

    Attributes:
      task: what terms are given.
      stream: its data; None where nothing names them.
      head: a head with its classes, in `aux/heads/source` of what it is given.
    """

    task: objectives.Source
    stream: Stream | None
    head: Head

    def kept(self, variables: dict) -> dict:
        """Returns the variables with the source's head: the one that training has moved on (`lwf`), or the init's."""
        own = variables.get("aux", {}).get("lwf", self.task.params)
        return {**variables, "aux": {HEADS: {NAME: own}}}


def of(config: Any, init: weights.Source, model: Any, sample: Any, target: Stream) -> Callable[[], Known]:
    """Returns a function that tells the source task, and reads it when it is first called.

    The data are those of `config.source`, or, where it is empty and the init is the folder of a run, that run's.

    Args:
      config: the complete config.
      init: `config.init`, opened.
      model: the run's model.
      sample: zeros of the shapes of its input.
      target: the run's own data.
    """
    return functools.cache(lambda: _opened(config, init, model, sample, target))


def _opened(config: Any, init: weights.Source, model: Any, sample: Any, target: Stream) -> Known:
    names, alone, params = head_of(config.model.name, init, model, sample)
    classes = alone.model.num_classes
    stream = stream_of(config, init, target)
    if stream is not None and len(stream.class_names) != classes:
        raise InputError(
            f"config.source has {len(stream.class_names)} classes, and the head of config.init {classes}; name the "
            "data that it was trained on"
        )
    loss = None
    if stream is not None:
        loss = stream.task.objective(objectives.as_sums(objectives.create(stream.task.loss)))
    shares = bool(names) and list(names) == list(target.class_names) and not _is_drawn(config.reinit)

    def apply(params: Any, x: Any) -> Any:
        return alone.apply({"aux": {HEADS: {NAME: params}}}, x)

    return Known(objectives.Source(classes, shares, params, apply, loss), stream, alone)


def head_of(name: str, init: weights.Source, model: Any, sample: Any) -> tuple[list[str], Head, Any]:
    """Returns the names of the classes that an init was trained to tell, its head for them, and the head's parameters.

    There are no names where nothing says them.

    Args:
      name: the model's name, or "".
      init: `config.init`, opened.
      model: the run's model.
      sample: zeros of the shapes of its input.

    Raises:
      InputError: it has none, or of another form than the model's.
    """
    if isinstance(init, str) and init == "scratch":
        raise InputError(
            "the source task is that of config.init, which is 'scratch'; give weights or the folder of a run"
        )
    if not forward.stages(model) or not hasattr(model, "num_classes"):
        raise InputError(
            f"the source's head needs a model with stages and num_classes, which {type(model).__name__} has not"
        )
    if name and hasattr(model, "description") and not folders.is_run(init):
        raise InputError(f"{name} is made of other models, and its head is new")
    names, params = _of_run(init) if folders.is_run(init) else _of_weights(init, name)
    return names, Head(NAME, model.clone(num_classes=_classes(model, sample, params))), params


def _is_drawn(reinit: Any) -> bool:
    return any(re.fullmatch(pattern, f"{forward.OUTPUT}/kernel") for pattern in reinit)


def _of_run(folder: Any) -> tuple[list[str], Any]:
    run = open_run(folder)
    return run.class_names, run.merged()["params"].get(forward.OUTPUT)


def _of_weights(init: Any, name: str) -> tuple[list[str], Any]:
    checkpoint = weights.open(init)
    described = weights.describe(checkpoint, model=None if is_address(name) else name or None)
    held = re.compile(rf"(params/)?{forward.OUTPUT}/.*")

    def place(path: str, param: Any) -> Any:
        return param[...] if held.fullmatch(path) else param

    variables, _ = weights.load(checkpoint, described.model, place=place, digest=False)
    return list(described.class_names), variables["params"].get(forward.OUTPUT)


def _classes(model: Any, sample: Any, head: Any) -> int:
    """The number of classes of the source's head.

    Raises:
      InputError: it has none, or of another form than the model's.
    """
    flat = {path: np.shape(leaf) for path, leaf in trees.flatten(head or {}).items()}
    biases = [shape[-1] for path, shape in flat.items() if path.endswith(("bias", "kernel"))]
    classes = biases[-1] if biases else 0
    ours = model.clone(num_classes=classes) if classes else model
    shapes = jax.eval_shape(lambda: forward.initialize(ours, jax.random.key(0), sample))["params"].get(
        forward.OUTPUT, {}
    )
    if not flat or {path: leaf.shape for path, leaf in trees.flatten(shapes).items()} != flat:
        raise InputError(
            "config.init has no head of the model's form, and a term or an evaluation needs the source's head"
        )
    return classes


def stream_of(config: Any, init: Any, target: Stream) -> Stream | None:
    """Returns the data that an init was trained on; None where nothing names them. Arguments as for `of`."""
    if config.source:
        return open_stream(config.source, target.modality_name, "", (init, init))
    if not folders.is_run(init):
        return None
    stored = open_run(init).config
    return open_stream(stored.data, stored.modality, stored.task, (init, init))
