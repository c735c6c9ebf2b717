"""What a run's phases are made of: objective, optimizer, heads, mixing, and the states that they begin with."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jtransfer import data, objectives, peft
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.features import prefix
from jtransfer.modalities import faces
from jtransfer.models import forward
from jtransfer.models.fitted import estimator_of
from jtransfer.objectives import TARGET
from jtransfer.runs import adapters, balancing, quantized, teachers
from jtransfer.runs import source as sources
from jtransfer.runs.stream import Stream
from jtransfer.training import mixing, noise, optim, stream_norms
from jtransfer.training import multitask as tasks
from jtransfer.training import state as states
from jtransfer.training.phases import Phase
from jtransfer.training.streams import HEADS, Head

Run = Any  # build.Run


def objective(run: Run) -> objectives.Objective:
    """The objective of a run: the terms of `config.objective`.

    Raises:
      InputError: no such term, loss or field, or classes that can't be balanced.
    """
    streams = {
        name: objectives.Stream(
            loss(run.config.loss, stream),
            stream.task.accuracy,
            stream.weight,
            predicts(stream),
            stream.task.by_token,
        )
        for name, stream in run.streams.items()
    }
    steps = sum(phase.steps for phase in run.phases)
    context = objectives.Context(run.model, streams, steps, lambda: run.source().task, teachers.context(run))
    return objectives.make(run.config.objective, context)


def loss(config: Any, stream: Stream) -> Callable[..., jax.Array]:
    """The loss of a stream: that of the config where it is for the stream's task, else the task's usual one."""
    fields = config.fields.to_dict()
    if config.balanced:
        fields["class_weights"] = data.class_weights(stream.sources["train"].labels, len(stream.class_names))
    made = objectives.create(config.name or stream.task.loss, **fields)
    return stream.task.objective(objectives.as_sums(made))


def predicts(stream: Stream) -> str:
    """What the model's outputs are of, as `objectives.Stream` has it."""
    kinds = stream.task.label_kinds
    return "class" if stream.task.by_token else kinds[0] if kinds else ""


def first_run(run: Run, phase: Phase) -> str:
    """The first stage that is run in a phase with `cache`."""
    return prefix.first_trained(phase.trainable, forward.stages(run.model))


def heads(run: Run) -> dict[str, Head]:
    """The heads of streams that have one of their own.

    A stream shares the model's head if its classes are the target's, unless its `head` says otherwise.

    Raises:
      InputError: a head is to be shared by other classes, or the model's can't be made twice.
    """
    found = {}
    for name, stream in run.streams.items():
        if name == TARGET or not _has_own_head(run, name, stream):
            continue
        if not forward.stages(run.model) or not hasattr(run.model, "num_classes"):
            raise InputError(
                f"streams.{name}: a head of its own needs a model with stages and num_classes, which "
                f"{type(run.model).__name__} has not; give it the target's classes and head='shared'"
            )
        found[name] = Head(name, run.model.clone(num_classes=len(stream.class_names)))
    return found


def _has_own_head(run: Run, name: str, stream: Stream) -> bool:
    same = stream.class_names == run.target.class_names and stream.task_name == run.target.task_name
    if stream.head not in ("", "own", "shared"):
        raise InputError(f"streams.{name}.head={stream.head!r}: give 'own' or 'shared'")
    if stream.head == "shared" and not same:
        ours, theirs = (", ".join(names[:5]) for names in (run.target.class_names, stream.class_names))
        raise InputError(f"streams.{name}.head='shared' needs the target's task and classes: {ours}; not {theirs}")
    return stream.head == "own" or not same


def own_norms(name: str, stream: Stream) -> bool:
    """Whether a stream has batch norms of its own.

    Raises:
      InputError: `norms` is none of its words.
    """
    if stream.norms not in ("", "shared", "statistics", "own"):
        raise InputError(f"streams.{name}.norms={stream.norms!r}: give 'shared', 'statistics' or 'own'")
    return stream.norms in ("statistics", "own")


def mixer(config: Any, stream: Stream, model: Any, phase: Phase) -> Callable | None:
    """`(key, x, labels) -> (x, soft labels)` by `mixup` and `cutmix`, or None; with both, a batch gets one of them.

    Raises:
      InputError: the inputs of the stream, or of the phase, can't be mixed so.
    """
    asked = {name: config[name] for name in ("mixup", "cutmix") if config[name]}
    for name in asked:
        if "" not in faces.of(model):
            raise InputError(f"{name}={asked[name]} can't be done with models side by side; set {name}=0")
        if name not in stream.modality.mixes:
            raise InputError(f"{name}={asked[name]} can't be done with {stream.modality.nouns[1]}; set {name}=0")
        if stream.task.form != "single":
            raise InputError(f"{name}={asked[name]} can't be done for task={stream.task_name!r}; set {name}=0")
        if name == "cutmix" and phase.cache:
            raise InputError(
                f"cutmix={asked[name]} cuts boxes out of images, but phase {phase.name} is trained on cached features; "
                "set cache=False there, or cutmix=0"
            )
    return mixing.mixer(len(stream.class_names), **asked) if asked else None


def noises(run: Run, phase: Phase) -> list[noise.Noise]:
    """The noises of a phase, as `config.noise` asks.

    Raises:
      InputError: no such noise or field, or nothing of its kind in the model or among what the phase trains.
    """
    shapes = jax.eval_shape(lambda: initial_variables(run)) if run.config.noise else {}
    now, ever = phase.trainable["params"], run.phases[0].trained_later["params"]
    return noise.make(run.config.noise, run.model, shapes, run.sample, now, ever)


def optimizer(run: Run, number: int, variables: Any) -> Any:
    """The transform of a phase, over the collections of a `TrainState`'s `trainable`."""
    if estimator_of(run.model):
        return optax.identity()
    phase, whole = run.phases[number], jax.eval_shape(peft.dequantize, variables)
    tx = optim.make(
        phase.optim,
        {name: whole[name] for name in phase.trainable},
        total_steps=phase.steps,
        trainable=phase.trainable,
        stages=forward.stages(run.model),
        trained_since=phase.trained_since,
    )
    steps = sum(phase.steps for phase in run.phases if any(jax.tree.leaves(phase.trainable.get("adapters", {}))))
    return peft.optimizer(run.config.adapters, tx, steps)


def initial_variables(run: Run) -> dict:
    """The model's variables, drawn anew. Pure."""
    return forward.initialize(run.model, jax.random.key(run.config.seed), run.sample)


def with_auxiliary(run: Run, variables: dict) -> dict:
    """The variables with those of adapters and auxiliary modules, drawn anew, and what the objective needs to keep.
    Pure."""
    key = jax.random.fold_in(jax.random.key(run.config.seed), 1)
    variables = {**variables, **adapters.drawn(run, variables, jax.random.fold_in(key, 1 << 20))}
    auxiliary = _auxiliary(run, variables, key)
    kept = _kept(run, variables) if run.phases else {}
    return {**variables, **({"aux": auxiliary} if auxiliary else {}), **kept, **_statistics(run, variables)}


def _statistics(run: Run, variables: dict) -> dict:
    names = [name for name, stream in run.streams.items() if own_norms(name, stream)]
    if not names:
        return {}
    if "batch_stats" not in variables:
        asked = f"streams.{names[0]}.norms={run.streams[names[0]].norms!r}"
        raise InputError(f"{asked}: the model has no batch norms; leave it empty")
    return {stream_norms.STATISTICS: {name: jax.tree.map(jnp.copy, variables["batch_stats"]) for name in names}}


def _kept(run: Run, variables: dict) -> dict:
    """What is kept of the network that the run begins with, and what a method of multi-task learning begins with."""
    made = objective(run)
    method = balancing.method(run.config, made)
    network = "initial_network" in made.needs
    wanted = network or "initial" in made.needs or noise.needs_initial(run.config.noise)
    wanted = wanted or any(phase.optim["l2sp"] for phase in run.phases)
    beside = {name: tree for name, tree in variables.items() if name != "params"} if network else {}
    terms = {name: term.constants for name, term in made.terms.items() if term.constants is not None}
    shapes = _shapes(run, variables) if terms else {}
    constants = {name: make(variables, shapes) for name, make in terms.items()}
    found = {
        states.INITIAL: jax.tree.map(jnp.copy, variables["params"]) if wanted else {},
        states.INITIAL_STATE: jax.tree.map(jnp.copy, beside),
        states.CONSTANTS: constants,
        tasks.STATE: method.begin(len(tasks.tasks(made))) if method is not None else {},
    }
    return {name: tree for name, tree in found.items() if tree}


def _shapes(run: Run, variables: dict) -> dict[str, Any]:
    """Stream → what every stage returns, shapes."""
    return dict.fromkeys(run.streams, jax.eval_shape(lambda: _outputs(run, variables)))


def _auxiliary(run: Run, variables: dict, key: jax.Array) -> dict:
    own, terms = heads(run), {n: t.init for n, t in objective(run).terms.items() if t.init is not None}
    scales = {
        name: jax.tree.map(jnp.copy, stream_norms.affine(variables))
        for name, stream in run.streams.items()
        if stream.norms == "own"
    }
    found: dict[str, Any] = {stream_norms.NORMS: scales} if jax.tree.leaves(scales) else {}
    if not own and not terms:
        return found
    outputs = jax.eval_shape(lambda: _outputs(run, variables))
    stages = forward.stages(run.model)
    if own:
        trunk = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), outputs[stages[-2]])
        found[HEADS] = {
            name: _head(run, name, head.initialize(jax.random.fold_in(key, i), trunk))
            for i, (name, head) in enumerate(own.items())
        }
    shapes = dict.fromkeys(run.streams, outputs)
    for i, (name, initialize) in enumerate(terms.items()):
        found[name] = initialize(jax.random.fold_in(key, len(own) + i), shapes)
    return found


def _head(run: Run, name: str, drawn: dict) -> dict:
    """The parameters that a stream's own head begins with: of the stream "source", those of the init where
    `config.source` names the data that it was trained on, so that replay goes on with what is there."""
    if name != sources.NAME or not run.config.source:
        return drawn
    held = jax.tree.map(jnp.asarray, run.source().task.params)
    if jax.tree.map(jnp.shape, held) != jax.tree.map(jnp.shape, drawn):
        raise InputError("streams.source has other classes than config.source; name the same data, or another stream")
    return held


def _outputs(run: Run, variables: dict) -> dict[str, Any]:
    """What every stage returns for the sample; of a model without stages, what the terms need."""
    names = forward.stages(run.model) or (*objective(run).features, forward.OUTPUT)
    return forward.apply(run.model, variables, run.sample, outputs=names)[0]


def begin(run: Run, number: int, variables: dict) -> states.TrainState:
    """Variables → the state that a phase would begin with if it were the first. Pure."""
    phase, variables = run.phases[number], quantized.of(run, with_auxiliary(run, variables))
    tx = optimizer(run, number, variables)
    state = states.create(variables, phase.trainable, tx, seed=run.config.seed, ema=run.config.optim.ema > 0)
    return states.cast_frozen(state, phase.trained_later, _dtype(run))


def enter(run: Run, number: int, state: states.TrainState) -> states.TrainState:
    """The last state of the phase before → the first of this one; moments of what stays trainable are kept. Pure."""
    phase = run.phases[number]
    tx = optimizer(run, number, state.variables())
    state = states.repartition(state, phase.trainable, tx, optim.carry)
    return states.cast_frozen(state, phase.trained_later, _dtype(run))


def abstract(run: Run, number: int) -> states.TrainState:
    """The state of a phase as `jax.ShapeDtypeStruct`s with shardings."""
    shapes = jax.eval_shape(lambda: begin(run, number, initial_variables(run)))
    placed = sharding.of_state(shapes, run.mesh, run.config.sharding)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placed)


def _dtype(run: Run) -> Any:
    return getattr(run.model, "dtype", None) or jnp.float32
