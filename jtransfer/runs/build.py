"""From a config to a `Run`. All that can be wrong is checked here, before anything is written or trained."""

import dataclasses
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import data, models, objectives, tasks
from jtransfer.core import config as configs
from jtransfer.core import rules, sharding
from jtransfer.core.errors import InputError
from jtransfer.evaluators import generation
from jtransfer.features import prefix
from jtransfer.modalities import text
from jtransfer.modalities.image import mixing
from jtransfer.modalities.image import transforms as image_transforms
from jtransfer.runs import texts
from jtransfer.training import optim, phases
from jtransfer.training import state as states

SPLITS = ("train", "validation", "test")


class Run(NamedTuple):
    """What stays the same over all phases."""

    config: Any
    folder: str
    mesh: Any
    model: Any
    sources: dict[str, Any]
    transforms: dict[str, Any]
    task: tasks.Task
    tokenizer: Any
    phases: list[phases.Phase]


def prepare(config: Any, folder: str | os.PathLike) -> Run:
    """The model, data and phases that a config describes.

    Raises:
      InputError: a field, a data set, a rule or a size is wrong.
    """
    config = configs.complete(config)
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch(eval_batch_size(config), mesh)
    spec = config.data.to_dict() | ({"label_key": ""} if config.task == "lm" else {})
    sources = {split: data.open(spec, config.data[split]) for split in SPLITS if config.data[split]}
    name = tasks.choose(config.task, sources["train"])
    task = tasks.TASKS[name]
    tokenizer = texts.tokenizer(config, folder) if task.pipeline else None
    config = texts.describe(config, name, tokenizer, len(sources["train"].class_names))
    model = create_model(config, len(sources["train"].class_names))
    params = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))["params"]
    whole, sources = sources["train"], texts.pack(config, sources, tokenizer)
    plan = phases.plan(config, params, model.stages, len(sources["train"]))
    made = transforms(config, model, task, tokenizer)
    run = Run(config, str(folder), mesh, model, sources, made, task, tokenizer, plan)
    _check(run, params, whole)
    return run


def _check(run: Run, params: Any, whole: Any) -> None:
    """Makes once what the phases are going to make, so that a mistake is found now; `whole` are the texts unpacked."""
    config = run.config
    objective(run)
    mixer(config, run.model.num_classes)
    rules.match([*((pattern, True) for pattern in config.reinit), (".*", False)], params, name="reinit")
    sharding.of_params(params, run.mesh, config.sharding)
    for number, phase in enumerate(run.phases):
        optimizer(run, number, params)
        sharding.check_batch(config.batch_size, run.mesh, phase.optim["accumulate"])
        if phase.cache:
            prefix.first_trained(phase.trainable, run.model.stages)
    if run.task.writes:
        generation.settings(config, run.model, run.tokenizer)
    if run.tokenizer:
        texts.check_length(config, run.model)
        pipeline = run.transforms["train"]
        if texts.packs(config):  # nothing is cut
            pipeline = text.lm(dataclasses.replace(run.tokenizer, length=None), 2**30)
        texts.report(whole, pipeline, run.tokenizer, run.model, len(run.sources["train"]))
    batches = data.train_batches(
        run.sources["train"],
        run.transforms["train"],
        config.batch_size,
        seed=config.seed,
        threads=config.data.threads,
        sampling=config.data.sampling,
        **processes(),
    )
    next(batches)
    batches.close()


def create_model(config: Any, num_classes: int) -> Any:
    """The model that a complete config names."""
    try:
        dtype = jnp.dtype(config.model.dtype)
    except TypeError:
        dtype = jnp.dtype(bool)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"model.dtype={config.model.dtype!r}: give float32 or bfloat16")
    fields = config.model.fields.to_dict()
    taken = {"dtype": "model.dtype", "channels": "data.channels", "num_classes": "the data's number of classes"}
    for name in taken.keys() & fields:
        raise InputError(f"model.fields.{name} is given by {taken[name]}; leave it out")
    if "image_size" in fields:
        fields["image_size"] = _image_size(fields["image_size"])
    if models.of_images(config.model.name):
        fields["channels"] = config.data.channels
    return models.create(config.model.name, num_classes=num_classes, dtype=dtype, **fields)


def _image_size(size: Any) -> int | tuple[int, int]:
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"model.fields.image_size={size!r} must be a positive number of pixels, or (height, width)")
    return tuple(sides) if len(set(sides)) > 1 else sides[0]


def transforms(config: Any, model: Any, task: tasks.Task | None = None, tokenizer: Any = None) -> dict[str, Any]:
    """The transforms of training ("train") and all other examples ("eval"); by default those of the model's weights."""
    if task is not None and task.pipeline:
        start = getattr(model, "start", None)
        tokenizer = dataclasses.replace(tokenizer, typed=tokenizer.typed and getattr(model, "segments", 0) > 0)
        if texts.packs(config):
            made = text.rows(tokenizer, config.data.length, apart=config.data.packing == "apart")
        else:
            made = task.pipeline(tokenizer, config.data.length, config.data.target_length, start)
        return {"train": made, "eval": made}
    if not isinstance(model, models.ImageChain):
        raise InputError(f"model {config.model.name!r} is not one of images; name another in model.name")
    source = model.preprocessing
    size, method = source["size"], source["interpolation"]
    mean, std = source["mean"], source["std"]
    if config.data.channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    normalize = f"normalize({(mean, std)})"
    train = config.data.transform or f"random_resized_crop({size})|flip_lr"
    evaluation = config.data.eval_transform
    if not evaluation and not config.data.transform:
        evaluation = f"{_resize(model.sides, source['crop'], method)}|center_crop({size})"
    train, evaluation = (
        f"{text}|{normalize}" if text and "normalize" not in text else text for text in (train, evaluation)
    )
    train = image_transforms.parse(train)
    found = {"train": train, "eval": image_transforms.parse(evaluation) if evaluation else train.deterministic()}
    for pipeline in found.values():
        if not {len(pipeline.mean), len(pipeline.std)} <= {1, config.data.channels}:
            raise InputError(
                f"normalize has {len(pipeline.mean)} means, but the images have data.channels={config.data.channels}"
            )
    return found


def _resize(sides: tuple[int, int], crop: float, method: str) -> str:
    """The transform that leaves the share `crop` of each side for the model; of an aspect that is not square, the
    largest part of the image that has it is looked at."""
    height, width = (round(side / crop) for side in sides)
    return f"resize_short({height}, '{method}')" if height == width else f"resize_crop({height, width}, '{method}')"


def objective(run: Run):
    """The loss of a run: `(logits, labels, mask) -> float32 []`."""
    config, fields = run.config.loss, run.config.loss.fields.to_dict()
    if config.balanced:
        fields["class_weights"] = data.class_weights(run.sources["train"].labels, run.model.num_classes)
    return run.task.objective(objectives.create(config.name or run.task.loss, **fields))


def mixer(config: Any, num_classes: int):
    """`(key, x, labels) -> (x, soft labels)` by `mixup` and `cutmix`, or None; with both, a batch gets one of them."""
    kinds = [(fn, alpha) for fn, alpha in ((mixing.mixup, config.mixup), (mixing.cutmix, config.cutmix)) if alpha]
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


def statistics(pipeline: image_transforms.Pipeline) -> dict[str, Any]:
    """`mean` and `std` of a transform, as `step.pixels` takes them."""
    return {"mean": np.asarray(pipeline.mean, np.float32), "std": np.asarray(pipeline.std, np.float32)}
