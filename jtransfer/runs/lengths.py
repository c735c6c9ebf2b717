"""Whether a run may go on with phases of other lengths, or with more of them: the steps so far must be the same."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.models import forward
from jtransfer.models.fitted import estimator_of
from jtransfer.runs import assemble, build, feed, trial
from jtransfer.runs.position import Position
from jtransfer.training import checkpoint, optim, phases

Run = Any  # build.Run
_PLACE = re.compile(r"0x[0-9a-f]+")  # in memory, of a function that a program names


def why_not(run: Run, before: Sequence[dict[str, Any]]) -> str:
    """Returns why a run can't go on with the lengths that its phases have now; "" if it can.

    The phases that have begun, the steps that they have taken included, must be what they were: nothing that a step
    computes may depend on how many there are, as the rates of a cosine do.

    Args:
      run: The run, with its phases as they are to be.
      before: `steps` and `epochs` of each phase that it had.
    """
    begun = _begun(run.folder)
    if begun is None:
        return ""
    old = _with_lengths(run, before)
    now = run.phases[: begun.number + 1]
    for number, (was, phase) in enumerate(zip(old.phases, now, strict=False)):
        if was.steps != phase.steps and number < begun.number:
            return f"phase {phase.name} has ended"
        if phase.steps < was.steps:
            return f"phase {phase.name} has begun, and can only become longer"
        if was.steps != phase.steps and (said := _of_rates(was, phase)):
            return said
        if not _alike(old, run, number):
            return (
                f"in phase {phase.name}, what a step computes or holds depends on the number of steps or on later "
                "phases, as by a term of the objective or a budget of adapters"
            )
    return ""


def _begun(folder: Any) -> Position | None:
    """Where the run is; None where nothing is trained yet."""
    if not checkpoint.steps(folder):
        return None
    return Position(**checkpoint.position(folder, checkpoint.resolve(folder)))


def _with_lengths(run: Run, before: Sequence[dict[str, Any]]) -> Run:
    config = run.config.copy_and_resolve_references().unlock()
    phases_then = zip(config.phases, before, strict=False)  # a copy of a config shares what stands in its lists
    config.phases = [type(config)({**phase.to_dict(), **given}) for phase, given in phases_then]
    examples = round(len(run.target.sources["train"]) / run.shares["target"])
    planned = phases.plan(config, build.trained_shapes(run), forward.stages(run.model), examples)
    return run._replace(config=config.lock(), phases=planned)


def _of_rates(was: phases.Phase, now: phases.Phase) -> str:
    """Why a phase's rates are no longer what they were; "" if they are."""
    old, new = (optim.schedule(phase.optim, phase.steps) for phase in (was, now))
    steps = np.unique(np.linspace(0, was.steps - 1, 50).astype(int))
    if all(np.array_equal(old(step), new(step)) for step in steps):
        return ""
    return (
        f"schedule={was.optim['schedule']!r} over {now.steps} steps has other rates than over {was.steps}, for the "
        "steps so far, too; with 'constant' they are the same, and a further phase may be added at the end"
    )


def _alike(old: Run, new: Run, number: int) -> bool:
    """Whether a phase of two runs holds the same and does the same at each step. Nothing is computed."""
    if estimator_of(new.model):
        return False
    states = [assemble.abstract(one, number) for one in (old, new)]
    if jax.tree.map(_form, states[0]) != jax.tree.map(_form, states[1]):
        return False
    if not old.phases[number].steps:
        return True
    programs = [_programs(run, number, state) for run, state in zip((old, new), states, strict=True)]
    return programs[0] == programs[1]


def _form(leaf: Any) -> tuple:
    return leaf.shape, leaf.dtype


def _programs(run: Run, number: int, state: Any) -> list[str]:
    """What a step of a phase computes, for each kind of its batches, as a text."""
    objective = assemble.objective(run)
    alone = {name: term for name, term in objective.terms.items() if not term.teachers}
    if not alone:
        return []
    fed = feed.Feed(run, run.phases[number])
    step = fed.train_step(state.variables(), objective._replace(terms=alone))
    made = [jax.make_jaxpr(step)(state, batch) for batch in trial.first_shapes(run, number)]
    return [_PLACE.sub("", str(one)) + "".join(map(_digest, one.consts)) for one in made]


def _digest(constant: Any) -> str:
    raw = jax.random.key_data(constant) if jnp.issubdtype(constant.dtype, jax.dtypes.prng_key) else constant
    return hashlib.sha256(np.asarray(raw).tobytes()).hexdigest()
