"""A checkpoint of a run that is written tensor by tensor, all of it at one step, with nothing left to train."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jtransfer.training import digest as digests
from jtransfer.training.checkpoint import folders, statement
from jtransfer.training.checkpoint.statement import Stated
from jtransfer.weights.streaming import lazy_param, orbax_writer

STATE = "state"


@contextmanager
def write_whole(workdir: str | os.PathLike, step: int, position: Mapping[str, Any]) -> Iterator[Callable]:
    """Writes the checkpoint of a step, which is whole once the context is left.

    Args:
      workdir: a local folder, which has no checkpoints.
      step: the step.
      position: JSON with the `phase`, and what else the loop knows of where it is; `base` is added.

    Yields:
      A function `place(path, array)` that writes one of the model's variables, such as "params/stem/conv/kernel".
    """
    folder, found = folders.root(workdir) / str(step), {}
    (folder / STATE).mkdir(parents=True)
    with orbax_writer.new(folder / STATE) as put:

        def place(path: str, array: Any) -> None:
            inner = f"{'model_state' if path.startswith('batch_stats/') else 'trainable'}/{path}"
            put(inner, lazy_param.in_memory(array))
            found[f"{STATE}/{inner}"] = digests.digests({path: array})[path]

        yield place
    stated = Stated(step, {**position, "base": digests.combine({})}, None, found)
    (folder / folders.METADATA).write_text(json.dumps({"custom_metadata": statement.metadata(stated)}))
