"""One small model of each family and a batch for it, shared by the tests."""

import functools
import re

import jax
import jax.numpy as jnp

from jtransfer import models, objectives
from jtransfer.core import rules
from jtransfer.models import resnet
from jtransfer.training import optim, state, step

ALIKE = [name for name in resnet.MODELS if not re.fullmatch(r"resnet(18|34|50|101|152|26t|rs50)|seresnext50_.*", name)]
IMAGE_MODELS = [
    name for name in models.names() if isinstance(models.create(name), models.ImageChain) and name not in ALIKE
]
MODELS = {
    "resnet": ("resnet18", {"depths": (1, 1, 1, 1), "image_size": 32}),
    "vgg": ("vgg11_bn", {"width": 8, "image_size": 32}),
    "lite": ("efficientnet_lite0", {"depth": 0.1, "image_size": 32}),
}
OPTIM = {
    "name": "adamw",
    "lr": 1e-2,
    "schedule": "cosine",
    "warmup": 1,
    "weight_decay": 0.1,
    "decay_rules": ((".*/kernel", True), (".*", False)),
    "clip": 1.0,
    "layer_decay": 0.9,
    "rates": ((".*", 1.0),),
    "kwargs": {},
}
OBJECTIVE = objectives.create("softmax")


def model_of(family, **fields):
    name, small = MODELS[family]
    return models.create(name, 4, **{**small, **fields})


@functools.cache
def variables_of(family):
    model = model_of(family)
    return jax.device_get(jax.jit(model.init)(jax.random.key(0), model.example_input(1)))


def batch_of(size=8, pixels=32):
    image = jax.random.normal(jax.random.key(1), (size, pixels, pixels, 3))
    return {"inputs": image, "label": jnp.arange(size) % 4, "mask": jnp.ones(size, bool)}


def training(model, variables, spec, *, accumulate=1, ema=0.9, steps=10, trained_since=None, **changes):
    """(state, jitted train step) with `spec` trained."""
    params = variables["params"]
    mask = rules.trainable(spec, params, model.stages)
    tx = optim.make(
        OPTIM | changes,
        {"params": params},
        total_steps=steps,
        trainable={"params": mask},
        stages=model.stages,
        trained_since={"params": trained_since} if trained_since else None,
    )
    begun = state.create(variables, mask, tx, seed=0, ema=ema > 0)
    train_step = step.make_train_step(model, tx, OBJECTIVE, trainable=mask, accumulate=accumulate, ema=ema)
    return begun, jax.jit(train_step)
