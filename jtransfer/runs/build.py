"""From a config to a `Run`. All that can be wrong is checked here, before anything is written or trained."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from jtransfer import objectives, tracking, weights
from jtransfer.core import rules, sharding
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.data import mixture
from jtransfer.features import prefix
from jtransfer.modalities import faces
from jtransfer.modalities.zeros import zero_inputs, zero_sample
from jtransfer.models import forward
from jtransfer.runs import (
    adapters,
    alone,
    assemble,
    balancing,
    batches,
    describe,
    evaluation,
    exportable,
    feature_cache,
    first_batch,
    fitting,
    initialize,
    norms,
    protocol,
    quantized,
    split_check,
    staying,
    target_classes,
    teacher_check,
    trial,
    usual_names,
    views,
)
from jtransfer.runs import config as configs
from jtransfer.runs import folder as folders
from jtransfer.runs import model as models
from jtransfer.runs import source as sources
from jtransfer.runs.stream import Stream, open_stream
from jtransfer.runs.teachers import Teacher, open_teachers
from jtransfer.training import phases

TARGET = objectives.TARGET
_LONGEST = 2000  # characters of a line on the data


class Run(NamedTuple):
    """What stays the same over all phases.

    Attributes:
      config: the complete config, with the task, the model's name and its fields filled in.
      folder: where it is written.
      mesh: of all devices.
      model: the Linen module.
      sample: zeros of the shapes of the model's input, a batch of one.
      inputs: zeros of the shapes of a batch's `inputs`, of a model that does not make a sample itself; else None.
      streams: name → stream, "target" first.
      shares: stream → its share of each batch, or of the steps.
      phases: in order.
      init: `config.init`, opened once.
      source: tells the task that the init was trained on (`runs.source`).
      init_parts: part of a model that is made of others → its weights, opened once.
      teachers: name → teacher.
      labelled: the streams whose labels are learned from.
    """

    config: Any
    folder: str
    mesh: Any
    model: Any
    sample: Any
    inputs: Any
    streams: Mapping[str, Stream]
    shares: Mapping[str, float]
    phases: list[phases.Phase]
    init: weights.Source
    source: Callable[[], sources.Known]
    init_parts: Mapping[str, weights.Source]
    teachers: Mapping[str, Teacher] = MappingProxyType({})
    labelled: frozenset[str] = frozenset((TARGET,))

    @property
    def begins_with(self) -> str:
        """`config.init`, and what the parts begin with."""
        parts = [f"{name} {source}" for name, source in self.config.init_parts.items()]
        return ", ".join([*parts, *([] if parts and self.config.init == "scratch" else [self.config.init])])

    @property
    def target(self) -> Stream:
        """The stream of `config.data`."""
        return self.streams[TARGET]


def prepare(config: Any, folder: str | os.PathLike, devices: Any = None) -> Run:
    """The model, data and phases that a config describes.

    Args:
      config: the config.
      folder: of the run.
      devices: of the mesh; None is all.

    Raises:
      InputError: a field, a data set, a rule or a size is wrong.
    """
    if jax.process_index() == 0:
        for line in usual_names.settled(configs.fill(config))[1]:
            say(line)
    config = configs.complete(config)
    if jax.process_index() == 0:
        tracking.check(config.trackers)
    mesh = sharding.make_mesh(config.mesh.to_dict(), devices)
    sharding.check_batch(batches.eval_batch_size(config), mesh)
    alone.check(config)
    feature_cache.check(config)
    run = opened(config, folder, mesh)
    run = run._replace(config=adapters.trained(run))
    run = run._replace(config=norms.named(run))
    variables = trained_shapes(run)
    examples = round(len(run.target.sources["train"]) / run.shares[TARGET])
    run = run._replace(phases=phases.plan(run.config, variables, forward.stages(run.model), examples))
    return run._replace(labelled=_check(run, variables))


def opened(config: Any, folder: str | os.PathLike, mesh: Any) -> Run:
    """What a config describes, opened and not checked: streams, model and init, without phases.

    Args:
      config: complete.
      folder: of the run.
      mesh: of devices.

    Raises:
      InputError: a data set or the init is wrong, or they do not fit the config.
    """
    init = initialize.open(config.init, config.ignore)
    parts = initialize.open_parts(config)
    places = (folder, init)
    others = {}
    for name, section in config.streams.items():
        given = {key: section[key] for key in ("share", "weight", "head", "norms")}
        others[name] = open_stream(section.data, section.modality or config.modality, section.task, places, **given)
    classes = target_classes.known(config, others)
    target = open_stream(config.data, config.modality, config.task, places, classes)
    streams = {TARGET: target, **others}
    config, stays = folders.model_as_begun(folder, described(config, init, target, parts), config.model.fields.keys())
    for line in stays if jax.process_index() == 0 else ():
        say(line)
    model = models.create(config, target.modality, len(target.class_names))
    inputs = (
        None
        if hasattr(model, "example_input")
        else zero_inputs(target.transform(model, train=False), target.sources["train"])
    )
    sample = model.example_input(1) if inputs is None else zero_sample(target.preprocess(model, train=False), inputs)
    known = sources.of(config, init, model, sample, target)
    share = _shares(config, streams)
    teachers = open_teachers(config, streams)
    return Run(config, str(folder), mesh, model, sample, inputs, streams, share, [], init, known, parts, teachers)


def described(config: Any, init: weights.Source, target: Stream, parts: Mapping[str, weights.Source]) -> Any:
    """The config with the task, the model's name and fields, and the settings of generation filled in."""
    name, fields = describe.describe(config, init, target.task, target.modality, len(target.class_names), parts)
    generation = describe.generation(config, init, target.task, target.task_name) if target.task.generates else {}
    config = config.copy_and_resolve_references().unlock()
    config.modality = target.modality_name
    config.task = target.task_name
    config.model.name = name
    config.model.fields = type(config)(fields)
    config.generate.fields = type(config)(generation | config.generate.fields.to_dict())
    return config.lock()


def trained_shapes(run: Run) -> dict:
    """The shapes of the variables that may be trained: parameters, adapters, and those of auxiliary modules."""
    shapes = jax.eval_shape(lambda: assemble.with_auxiliary(run, assemble.initial_variables(run)))
    return {name: shapes[name] for name in ("params", "adapters", "aux") if name in shapes}


def _shares(config: Any, streams: Mapping[str, Stream]) -> dict[str, float]:
    sizes = {name: len(stream.sources["train"]) for name, stream in streams.items()}
    given = {name: stream.share for name, stream in streams.items()}
    return mixture.shares(sizes, given, config.mixing.temperature)


def _check(run: Run, variables: Mapping[str, Any]) -> frozenset[str]:
    """Makes once what the phases are going to make, so that a mistake is found now; returns the streams whose labels
    are learned from."""
    config, stages = run.config, forward.stages(run.model)
    fitting.check(run)
    objective = assemble.objective(run)
    if jax.process_index() == 0:
        for line in (*adapters.told(run, variables), *teacher_check.check(run)):
            say(one_line(line, _LONGEST))
    assemble.heads(run)
    balancing.method(config, objective)
    staying.check(run, variables)
    rules.match([*((pattern, True) for pattern in config.reinit), (".*", False)], variables["params"], name="reinit")
    sharding.of_params(variables, run.mesh, config.sharding)
    quantized.check(run, lambda: assemble.abstract(run, 0))
    for number, phase in enumerate(run.phases):
        assemble.optimizer(run, number, variables)
        assemble.noises(run, phase)
        batches.sizes(run, phase.optim["accumulate"])
        start = prefix.first_trained(phase.trainable, stages) if phase.cache else None
        _check_features(objective, stages, start, phase.name)
        for stream in run.streams.values():
            assemble.mixer(config, stream, run.model, phase)
    norms.check(run)
    views.check(run, objective)
    for name, stream in run.streams.items():
        _check_data(run, stream, "data" if name == TARGET else f"streams.{name}.data")
        first_batch.check(run, stream)
    run = run._replace(labelled=trial.of_step(run))
    evaluation.check(run)
    exportable.check(run, variables)
    if jax.process_index() == 0 and (line := protocol.told(run)):
        say(line)
    return run.labelled


def _check_data(run: Run, stream: Stream, where: str) -> None:
    """Checks a stream's examples, and prints what there is to say of them."""
    lines = split_check.check(stream, where)
    size = len(stream.sources["train"])
    told_of = [
        stream.modality.describe(stream.whole["train"], stream.task, m, size) for m in faces.of(run.model).values()
    ]
    if jax.process_index() == 0:
        for told in (*lines, *split_check.overlaps(stream, where)):
            say(one_line(told, _LONGEST))
        for line in dict.fromkeys(filter(None, told_of)):
            say(line)


def _check_features(objective: Any, stages: tuple[str, ...], start: str | None, phase: str) -> None:
    for name in objective.features if stages else ():
        if start is not None and stages.index(name) < stages.index(start):
            raise InputError(
                f"phase {phase}: with cache=True the model is not run before {start!r}, but a term of the objective "
                f"needs {name!r}; set cache=False"
            )
