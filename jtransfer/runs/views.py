"""Second views of examples, which terms of the objective ask for."""

from typing import Any

import jax
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say

Run = Any  # build.Run


def check(run: Run, objective: Any) -> None:
    """Checks that there are the second views that terms need, and prints how they are made.

    Raises:
      InputError: the modality has none, they have other shapes than the first, or a phase is trained on features.
    """
    for name in sorted(objective.strong):
        if cached := [phase.name for phase in run.phases if phase.cache]:
            raise InputError(
                f"phase {cached[0]}: with cache=True there are no second views, which a term of the objective needs; "
                "set cache=False"
            )
        stream = run.streams[name]
        words, _ = stream.modality.make_strong(stream.task, run.model)
        row = stream.transform(run.model, train=True, strong=True)(stream.sources["train"][0], np.random.default_rng(0))
        first, second = ([x.shape for x in jax.tree.leaves(row[view])] for view in ("inputs", "strong"))
        if first != second:
            raise InputError(f"data.strong gives inputs of the shapes {second}, but data.transform of {first}")
        if jax.process_index() == 0:
            say(one_line(f"{name}: the strong view of an example is {words}"))
