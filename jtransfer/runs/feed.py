"""What a phase trains and evaluates on: the examples of its streams, or cached outputs of the model's frozen prefix."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer import data, features
from jtransfer.core import sharding
from jtransfer.data import Source
from jtransfer.evaluators import Context, gather
from jtransfer.features import prefix
from jtransfer.layers import places
from jtransfer.models import forward
from jtransfer.models.fitted import estimator_of
from jtransfer.objectives import TARGET, Objective
from jtransfer.runs import assemble, balancing, batches, feature_cache, fitting, lessons, looks, same_classes
from jtransfer.runs import source as sources
from jtransfer.runs.stream import Stream, spec_of
from jtransfer.training import step as steps
from jtransfer.training import stream_norms
from jtransfer.training.phases import Phase
from jtransfer.training.state import TrainState
from jtransfer.training.streams import Head, StreamStep, unchanged

Run = Any  # build.Run


class Feed(NamedTuple):
    """The examples of a phase.

    Attributes:
      run: the run.
      phase: the phase; None where nothing is trained.
      start: the stage that the examples are the input of; None: the first.
      cached: stream → split → cached features, where `start` is a stage.
      told: what teachers tell of the training examples, as `lessons.of_run` gives it.
    """

    run: Run
    phase: Phase | None = None
    start: str | None = None
    cached: Mapping[str, Mapping[str, Source]] | None = None
    told: lessons.Kept = MappingProxyType({})

    def train_batches(self, step: int) -> batches.Batches:
        """This process's part of the batches from number `step` on, on the host (`batches.of_training`)."""
        assert self.phase is not None, "nothing is trained"
        streams = self.run.streams
        if self.cached is not None:
            sources = {name: self.cached[name]["train"] for name in streams}
            transforms: dict[str, Any] = dict.fromkeys(streams)
        else:
            sources = {name: stream.sources["train"] for name, stream in streams.items()}
            views = assemble.objective(self.run).strong
            transforms = {n: s.transform(self.run.model, train=True, strong=n in views) for n, s in streams.items()}
        made = batches.of_training(self.run, sources, transforms, self.phase.optim["accumulate"], step)
        return lessons.beside(made, self.run, self.told) if self.told else made

    def train_step(self, variables: dict, objective: Objective | None = None) -> Callable:
        """The jitted step of the phase. `variables` are read for their paths alone; the objective is the run's by
        default."""
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
                norms=name if assemble.own_norms(name, stream) else None,
            )
            for name, stream in run.streams.items()
        }
        train_step = steps.make_train_step(
            run.model,
            assemble.optimizer(run, number, variables),
            objective or assemble.objective(run),
            trainable=phase.trainable,
            streams=streams,
            accumulate=phase.optim["accumulate"],
            ema=run.config.optim.ema,
            sam=phase.optim["sam"],
            multitask=balancing.method(run.config, assemble.objective(run)),
            noise=assemble.noises(run, phase),
        )
        taught = lessons.live(run, streams) if objective is None else None
        if taught is None:
            return jax.jit(self.divided(train_step), donate_argnums=0)
        teach, given = taught
        step = self.divided(lambda state, batch, given: train_step(state, teach(state, batch, given)))
        whole = jax.jit(step, donate_argnums=0)
        return lambda state, batch: whole(state, batch, given)

    def divided(self, step: Callable) -> Callable:
        """A step that knows which devices have which examples and heads."""
        mesh = self.run.mesh
        return places.divided(mesh, (sharding.DATA,), sharding.MODEL if sharding.MODEL in mesh.shape else None)(step)

    def context(self) -> Context:
        """What evaluators of the target's splits are made from."""
        run, target = self.run, self.run.target
        transform = target.transform(run.model, train=False)
        make = functools.partial(steps.make_eval_step, run.model, keep=target.task.keep)
        whole = jax.jit(self.divided(make(preprocess=target.preprocess(run.model, train=False))))
        rest = jax.jit(self.divided(make(start=self.start)))  # of features, which were made of preprocessed inputs
        of_batches = functools.partial(batches.of_evaluation, run, transform=transform)
        cached = {} if self.cached is None else self.cached[TARGET]
        source_of = functools.cache(self.source_of)
        source = functools.partial(source_of, TARGET)

        def of_source(variables: Mapping[str, Any], source: Source) -> dict[str, Any]:
            return gather(whole, variables, of_batches(source))

        def table(variables: Mapping[str, Any], split: str) -> dict[str, Any]:
            if split in cached:
                return gather(rest, variables, batches.of_evaluation(run, cached[split], None))
            return of_source(variables, source(split))

        return Context(
            config=run.config,
            model=run.model,
            task=target.task,
            modality=target.modality,
            class_names=target.class_names,
            source=source,
            batches=of_batches,
            table=table,
            of_source=of_source,
            opened=functools.partial(same_classes.opened, run.config, target.modality, target.task, target.class_names),
            streams=looks.of_streams(run, source_of),
            others=self._others,
        )

    def _others(self, split: str) -> dict[str, Context]:
        """The contexts of the other tasks that have a split: of streams, and of the source where its data are named."""
        run, heads = self.run, assemble.heads(self.run)
        named = {name: stream for name, stream in run.streams.items() if name != TARGET and split in stream.sources}
        found = {name: self._other(stream, heads.get(name)) for name, stream in named.items()}
        if run.config.source and sources.NAME not in found:
            known = run.source()
            assert known.stream is not None, "the source's data are named"
            if split in known.stream.sources:
                head = None if known.task.shares else known.head
                found[sources.NAME] = self._other(known.stream, head, known.kept)
        return found

    def _other(self, stream: Stream, head: Head | None, given: Callable[[Any], Any] = unchanged) -> Context:
        run, keep = self.run, stream.task.keep
        transform = stream.transform(run.model, train=False)
        preprocess = stream.preprocess(run.model, train=False)
        step = jax.jit(steps.make_eval_step(run.model, preprocess=preprocess, keep=keep, head=head))
        of_batches = functools.partial(batches.of_evaluation, run, transform=transform)

        def source(split: str) -> Source:
            return stream.sources[split]

        def of_source(variables: Mapping[str, Any], source: Source) -> dict[str, Any]:
            held = variables if head is None else given(dict(variables))
            return gather(step, held, of_batches(source))

        def table(variables: Mapping[str, Any], split: str) -> dict[str, Any]:
            return of_source(variables, source(split))

        names = stream.class_names
        return Context(run.config, run.model, stream.task, stream.modality, names, source, of_batches, table, of_source)

    def source_of(self, name: str, split: str) -> Source:
        """A stream's examples of a split, by name or as an expression of splits."""
        sources = self.run.streams[name].sources
        return sources[split] if split in sources else opened(self.run, split, name)


def opened(run: Run, split: str, name: str = TARGET) -> Source:
    """A stream's examples of any split expression, such as "train[:500]"."""
    stream = run.streams[name]
    spec = spec_of(stream.data, stream.modality_name, stream.task_name)
    return stream.modality.pack(data.open(spec, split), stream.task)


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
    told = lessons.of_run(run)
    if not phase.cache:
        return Feed(run, phase, told=told)
    stage = prefix.first_trained(phase.trainable, forward.stages(run.model))
    variables = state.variables()
    cached = {name: _extracted(run, name, stage, variables) for name in run.streams}
    return Feed(run, phase, stage, cached, told)


def _extracted(run: Run, name: str, stage: str, variables: dict) -> dict[str, Source]:
    stream = run.streams[name]
    transform = stream.transform(run.model, train=False)
    if hasattr(transform, "of_one_width") and (stage != forward.OUTPUT or stream.task.by_token):
        transform = transform.of_one_width()
    preprocess, variables = stream.preprocess(run.model, train=False), stream_norms.entered(variables, name)
    step = jax.jit(steps.make_eval_step(run.model, preprocess=preprocess, stop=stage))

    def extract(source: Source) -> tuple[Any, np.ndarray]:
        return prefix.extract(step, variables, batches.of_evaluation(run, source, transform))

    through = functools.partial(feature_cache.through, run, stream)
    return {
        split: features.source_of(*through(source, stage, transform, variables, extract), source)
        for split, source in stream.sources.items()
    }
