"""What a phase trains and evaluates on: the examples of its streams, or cached outputs of the model's frozen prefix."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer import data, features
from jtransfer.data import Source
from jtransfer.evaluators import Context, gather
from jtransfer.features import prefix
from jtransfer.models import forward
from jtransfer.models.fitted import estimator_of
from jtransfer.objectives import TARGET
from jtransfer.runs import assemble, batches, fitting
from jtransfer.runs.stream import spec_of
from jtransfer.training import step as steps
from jtransfer.training.phases import Phase
from jtransfer.training.state import TrainState
from jtransfer.training.streams import StreamStep, unchanged

Run = Any  # build.Run


class Feed(NamedTuple):
    """The examples of a phase.

    Attributes:
      run: the run.
      phase: the phase; None where nothing is trained.
      start: the stage that the examples are the input of; None: the first.
      cached: stream → split → cached features, where `start` is a stage.
    """

    run: Run
    phase: Phase | None = None
    start: str | None = None
    cached: Mapping[str, Mapping[str, Source]] | None = None

    def train_batches(self, step: int) -> batches.Batches:
        """This process's part of the batches from number `step` on, on the host (`batches.of_training`)."""
        assert self.phase is not None, "nothing is trained"
        streams = self.run.streams
        if self.cached is not None:
            sources = {name: self.cached[name]["train"] for name in streams}
            transforms: dict[str, Any] = dict.fromkeys(streams)
        else:
            sources = {name: stream.sources["train"] for name, stream in streams.items()}
            transforms = {name: stream.transform(self.run.model, train=True) for name, stream in streams.items()}
        return batches.of_training(self.run, sources, transforms, self.phase.optim["accumulate"], step)

    def train_step(self, variables: dict) -> Callable:
        """The jitted step of the phase. `variables` are read for their paths alone."""
        run, phase = self.run, self.phase
        assert phase is not None, "nothing is trained"
        if estimator_of(run.model):
            return fitting.make_step(run, None if self.cached is None else self.cached[TARGET])
        number, heads = run.phases.index(phase), assemble.heads(run)
        streams = {
            name: StreamStep(
                preprocess=stream.preprocess(run.model, train=True) if self.start is None else unchanged,
                mix=assemble.mixer(run.config, stream, run.model, phase),
                start=self.start,
                head=heads.get(name),
            )
            for name, stream in run.streams.items()
        }
        train_step = steps.make_train_step(
            run.model,
            assemble.optimizer(run, number, variables),
            assemble.objective(run),
            trainable=phase.trainable,
            streams=streams,
            accumulate=phase.optim["accumulate"],
            ema=run.config.optim.ema,
        )
        return jax.jit(train_step, donate_argnums=0)

    def context(self) -> Context:
        """What evaluators of the target's splits are made from."""
        run, target = self.run, self.run.target
        transform = target.transform(run.model, train=False)
        make = functools.partial(steps.make_eval_step, run.model, keep=target.task.keep)
        whole = jax.jit(make(preprocess=target.preprocess(run.model, train=False)))
        rest = jax.jit(make(start=self.start))  # of features, which were made of preprocessed inputs
        of_batches = functools.partial(batches.of_evaluation, run, transform=transform)
        cached = {} if self.cached is None else self.cached[TARGET]

        def table(variables: Mapping[str, Any], split: str) -> dict[str, Any]:
            if split in cached:
                return gather(rest, variables, batches.of_evaluation(run, cached[split], None))
            return gather(whole, variables, of_batches(self.source(split)))

        return Context(
            config=run.config,
            model=run.model,
            task=target.task,
            modality=target.modality,
            class_names=target.class_names,
            source=self.source,
            batches=of_batches,
            table=table,
        )

    def source(self, split: str) -> Source:
        """The target's examples of a split, by name or as an expression of splits."""
        target = self.run.target
        return target.sources[split] if split in target.sources else opened(self.run, split)


@functools.lru_cache(8)
def _packed(source: Source, modality: Any, task: Any) -> Source:
    return modality.pack(source, task)


def opened(run: Run, split: str) -> Source:
    """The target's examples of any split expression, such as "train[:500]"."""
    target = run.target
    spec = spec_of(run.config.data, run.config.modality, run.config.task)
    return _packed(data.open(spec, split), target.modality, target.task)


def blank_table(run: Run) -> dict[str, np.ndarray]:
    """Zeros of the shapes of what the task keeps of one batch; nothing is computed."""
    target, model = run.target, run.model
    example = next(iter(data.eval_batches(target.sources["train"], target.transform(model, train=False), 1)))
    step = steps.make_eval_step(model, preprocess=target.preprocess(model, train=False), keep=target.task.keep)
    variables = jax.eval_shape(lambda: assemble.initial_variables(run))
    kept = {"label": example["label"]} | jax.eval_shape(step, variables, example)
    return {name: np.zeros(array.shape, array.dtype) for name, array in kept.items()}


def of_phase(run: Run, phase: Phase, state: TrainState) -> Feed:
    """The feed of a phase; with `cache`, the frozen prefix is run here, once over each split of each stream."""
    if not phase.cache:
        return Feed(run, phase)
    stage = prefix.first_trained(phase.trainable, forward.stages(run.model))
    variables = state.variables()
    cached = {name: _extracted(run, name, stage, variables) for name in run.streams}
    return Feed(run, phase, stage, cached)


def _extracted(run: Run, name: str, stage: str, variables: dict) -> dict[str, Source]:
    stream = run.streams[name]
    transform = stream.transform(run.model, train=False)
    if hasattr(transform, "of_one_width") and (stage != forward.OUTPUT or stream.task.by_token):
        transform = transform.of_one_width()
    preprocess = stream.preprocess(run.model, train=False)
    step = jax.jit(steps.make_eval_step(run.model, preprocess=preprocess, stop=stage))
    return {
        split: features.source_of(
            *prefix.extract(step, variables, batches.of_evaluation(run, source, transform)), source
        )
        for split, source in stream.sources.items()
    }
