"""From a config to a `Run`. All that can be wrong is checked here, before anything is written or trained."""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import config as configs
from jtransfer import data, models, objectives, optim, phases, sharding
from jtransfer import state as states
from jtransfer.errors import InputError

SPLITS = ("train", "validation", "test")


class Run(NamedTuple):
    """What stays the same over all phases."""

    config: Any
    folder: str
    mesh: Any
    model: Any
    sources: dict[str, Any]
    transforms: dict[str, data.Pipeline]
    phases: list[phases.Phase]


def prepare(config: Any, folder: str | os.PathLike) -> Run:
    """The model, data and phases that a config describes.

    Raises:
      InputError: a field, a data set, a rule or a size is wrong.
    """
    config = configs.complete(config)
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch(config.batch_size, mesh, config.optim.accumulate)
    sharding.check_batch(eval_batch_size(config), mesh)
    sources = {split: data.open(config.data, config.data[split]) for split in SPLITS if config.data[split]}
    model = create_model(config, len(sources["train"].class_names))
    params = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))["params"]
    plan = phases.plan(config, params, model.stages, len(sources["train"]))
    run = Run(config, str(folder), mesh, model, sources, transforms(config, model), plan)
    objective(run)
    for number in range(len(plan)):
        optimizer(run, number, params)
    return run


def create_model(config: Any, num_classes: int) -> Any:
    """The model that a complete config names."""
    try:
        dtype = jnp.dtype(config.model.dtype)
    except TypeError:
        raise InputError(f"model.dtype={config.model.dtype!r}: give float32 or bfloat16") from None
    return models.create(
        config.model.name,
        num_classes=num_classes,
        dtype=dtype,
        channels=config.data.channels,
        **config.model.fields.to_dict(),
    )


def transforms(config: Any, model: Any) -> dict[str, data.Pipeline]:
    """The transforms of training ("train") and all other images ("eval"); by default those of the model's weights."""
    source = model.preprocessing
    size, method = source["size"], source["interpolation"]
    normalize = f"normalize({(source['mean'], source['std'])})"
    train = config.data.transform or f"random_resized_crop({size})|flip_lr"
    evaluation = config.data.eval_transform
    if not evaluation and not config.data.transform:
        evaluation = f"resize_short({round(size / source['crop'])}, '{method}')|center_crop({size})"
    train, evaluation = (
        f"{text}|{normalize}" if text and "normalize" not in text else text for text in (train, evaluation)
    )
    train = data.parse(train)
    return {"train": train, "eval": data.parse(evaluation) if evaluation else train.deterministic()}


def objective(run: Run):
    """The loss of a run: `(logits, labels, mask) -> float32 []`."""
    config, fields = run.config.loss, run.config.loss.fields.to_dict()
    if config.balanced:
        fields["class_weights"] = data.class_weights(run.sources["train"].labels, run.model.num_classes)
    return objectives.create(config.name, **fields)


def mixer(config: Any, num_classes: int):
    """`(key, x, labels) -> (x, soft labels)` by `mixup` and `cutmix`, or None; with both, a batch gets one of them."""
    kinds = [(fn, alpha) for fn, alpha in ((data.mixup, config.mixup), (data.cutmix, config.cutmix)) if alpha]
    if not kinds:
        return None

    def mix(key, x, labels):
        choose, draw = jax.random.split(key)
        soft = jax.nn.one_hot(labels, num_classes)
        branches = [lambda x, soft, fn=fn, alpha=alpha: fn(draw, x, soft, alpha) for fn, alpha in kinds]
        return jax.lax.switch(jax.random.randint(choose, (), 0, len(branches)), branches, x, soft)

    return mix


def optimizer(run: Run, number: int, params: Any):
    """The transform of a phase, over the collections of a `TrainState`'s `trainable`."""
    phase = run.phases[number]
    return optim.make(
        phase.optim,
        {"params": params},
        total_steps=phase.steps,
        trainable={"params": phase.trainable},
        stages=run.model.stages,
        births={"params": phase.births},
    )


def begin(run: Run, number: int, variables: dict) -> states.TrainState:
    """Variables → the state that a phase would begin with if it were the first. Pure."""
    phase = run.phases[number]
    tx = optimizer(run, number, variables["params"])
    state = states.create(variables, phase.trainable, tx, seed=run.config.seed, ema=run.config.optim.ema > 0)
    return states.cast_frozen(state, phase.later, run.model.dtype)


def enter(run: Run, number: int, state: states.TrainState) -> states.TrainState:
    """The last state of the phase before → the first of this one; moments of what stays trainable are kept. Pure."""
    phase = run.phases[number]
    tx = optimizer(run, number, state.variables()["params"])
    state = states.repartition(state, phase.trainable, tx, optim.carry)
    return states.cast_frozen(state, phase.later, run.model.dtype)


def abstract(run: Run, number: int) -> states.TrainState:
    """The state of a phase as `jax.ShapeDtypeStruct`s with shardings."""
    variables = jax.eval_shape(run.model.init, jax.random.key(0), run.model.example_input(1))
    shapes = jax.eval_shape(lambda v: begin(run, number, v), variables)
    placed = sharding.of_state(shapes, run.mesh, run.config.sharding)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placed)


def eval_batch_size(config: Any) -> int:
    """Examples in a batch of evaluation, over all devices."""
    return config.eval_batch_size or config.batch_size


def processes() -> dict[str, int]:
    """This process's place, as the data loader takes it."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def statistics(pipeline: data.Pipeline) -> dict[str, Any]:
    """`mean` and `std` of a transform, as `step.pixels` takes them."""
    return {"mean": np.asarray(pipeline.mean, np.float32), "std": np.asarray(pipeline.std, np.float32)}
