"""Runs with adapters that take seconds: a small ViT that begins with weights in a file, on a few images."""

import jax

from jtransfer import config as configs
from jtransfer import models, weights

FIELDS = {"width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "patch": 8, "image_size": 16}
ROWS = [("attention", "lora", {"rank": 2})]


def model(**fields):
    return models.create("vit_tiny_patch16", 10, **FIELDS, **fields)


def write_weights(file, seed=7):
    """Weights of the small ViT, all of them random."""
    made = model()
    shapes = jax.eval_shape(made.init, jax.random.key(0), made.example_input(1))
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [0.2 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return str(weights.save(jax.tree.unflatten(structure, drawn), made, file))


def config_of(init, rows=ROWS, **changes):
    """A probe on cached features, and then adapters with the head; `changes` are dotted names of fields."""
    config = configs.default()
    config.init = str(init)
    config.model.name = "vit_tiny_patch16"
    config.model.fields.update(FIELDS)
    config.adapters = rows
    config.data.train, config.data.test = "train[:32]", "test[:16]"
    config.data.transform = "resize(16)|flip_lr"
    config.batch_size = 16
    config.checkpoint_every = 1
    config.log_every = 1
    config.optim.lr = 1e-2
    config.phases = [
        configs.phase("probe", trainable="head/.*", steps=2, cache=True),
        configs.phase("adapt", steps=3),
    ]
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return config


def get_config(init):
    """Of a command: the argument is the file of the weights."""
    return config_of(init)
