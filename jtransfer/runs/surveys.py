"""What terms measure once with the network that a run begins with, before the first step."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from jtransfer import data
from jtransfer.core.show import say
from jtransfer.models import forward
from jtransfer.objectives.term import Survey
from jtransfer.runs import assemble, batches
from jtransfer.runs import source as sources
from jtransfer.training.state import AUXILIARY, CONSTANTS, TrainState

Run = Any  # build.Run


def filled(run: Run, state: TrainState) -> TrainState:
    """Returns the first state of a run with what its terms measure among the constants."""
    terms = {name: term for name, term in assemble.objective(run).terms.items() if term.measure is not None}
    if not terms:
        return state
    found = dict(state.frozen[CONSTANTS])
    survey = survey_of(run, state.variables())
    for name, term in terms.items():
        if jax.process_index() == 0:
            say(f"objective: {name} looks at the network as it is before the first step")
        placed = jax.tree.map(lambda leaf: leaf.sharding, found[name])
        assert term.measure is not None
        found[name] = jax.jit(lambda tree: tree, out_shardings=placed)(term.measure(survey, found[name]))
    return state.replace(frozen={**state.frozen, CONSTANTS: found})


def survey_of(run: Run, variables: Mapping[str, Any]) -> Survey:
    """What terms measure with. The inputs of batches are preprocessed, so that no modality is known to them."""
    variables = {name: tree for name, tree in variables.items() if name not in AUXILIARY}

    def apply(variables, inputs, stages):
        return forward.apply(run.model, variables, inputs, outputs=tuple(stages))[0]

    def resume(variables, x, after, stages):
        names = forward.stages(run.model)
        start = names[names.index(after) + 1]
        return forward.apply(run.model, variables, x, start=start, outputs=tuple(stages))[0]

    def of(name: str, most: int) -> Iterator[dict]:
        stream = run.source().stream if name == sources.NAME and name not in run.streams else run.streams[name]
        source = stream.sources["train"]
        source = data.subsample(source, most) if most and len(source) > most else source
        preprocess = jax.jit(stream.preprocess(run.model, train=False))
        transform = stream.transform(run.model, train=False)
        for batch in batches.of_evaluation(run, source, transform=transform):
            yield {**batch, "inputs": preprocess(batch["inputs"])}

    return Survey(variables, apply, resume, of)
