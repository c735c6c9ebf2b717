"""What a phase says of norms: that they alone are trained, and of which examples batch norms have their statistics."""

import re
from typing import Any

import jax

from jtransfer import peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.runs import assemble, batches
from jtransfer.training import statistics
from jtransfer.training.state import TrainState

Run = Any  # build.Run
WORD = "norms"  # in place of the pattern of a phase's `trainable`


def named(run: Run) -> Any:
    """Returns the config with the paths of the model's norms where a phase trains "norms".

    Raises:
      InputError: the model has no norms with parameters.
    """
    if all(phase.trainable != WORD for phase in run.config.phases):
        return run.config
    shapes = jax.eval_shape(lambda: assemble.initial_variables(run))
    held = {path.rpartition("/")[0] for path in trees.flatten(shapes["params"])}
    paths = [path for path, site in peft.sites(run.model, shapes, run.sample).items() if site.norm and path in held]
    if not paths:
        raise InputError(f"trainable={WORD!r}: the model has no norms with scales or biases; give a pattern of paths")
    config = run.config.copy_and_resolve_references().unlock()
    for phase in config.phases:
        if phase.trainable == WORD:
            phase.trainable = f"({'|'.join(map(re.escape, paths))})/[^/]+"
    return config.lock()


def check(run: Run) -> None:
    """Checks `statistics` of the phases.

    Raises:
      InputError: there is no such stream, or the model has no batch norms.
    """
    for phase in run.phases:
        if phase.statistics and phase.statistics not in run.streams:
            raise unknown(f"stream in statistics of the phase {phase.name!r}:", phase.statistics, run.streams)
        if phase.statistics and "batch_stats" not in jax.eval_shape(lambda: assemble.initial_variables(run)):
            raise InputError(
                f"phase {phase.name}: statistics={phase.statistics!r}, but the model has no batch norms; leave it empty"
            )


def estimated(run: Run, number: int, state: TrainState) -> TrainState:
    """Returns the state that a phase begins with, with the statistics of its batch norms taken anew of the training
    examples of a stream, as they are evaluated, where its `statistics` name one. No label is looked at."""
    name = run.phases[number].statistics
    if not name:
        return state
    stream = run.streams[name]
    step = jax.jit(statistics.make_step(run.model, stream.preprocess(run.model, train=False)))
    examples = batches.of_evaluation(run, stream.sources["train"], stream.transform(run.model, train=False))
    found = trees.flatten({statistics.STATISTICS: statistics.estimate(step, state.variables(), examples)})

    def put(held: dict) -> dict:
        return trees.map_with_path(
            lambda path, leaf: jax.device_put(found[path], leaf.sharding) if path in found else leaf, held
        )

    return state.replace(frozen=put(state.frozen), model_state=put(state.model_state))
