"""Runs on two domains of vectors that take seconds: a model with batch and layer norm, by its address."""

from pathlib import Path

import flax.linen as nn
import numpy as np

from jtransfer import config as configs

FEATURES, CLASSES, SIZE = 5, 3, 23
MODEL = f"{Path(__file__).resolve()}:Net"


class Net(nn.Module):
    """Two layers and a head."""

    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(6, name="hidden")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn")(x))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        x = nn.LayerNorm(name="ln")(nn.Dense(6, name="features")(x))
        return nn.Dense(self.num_classes, name="head")(x)


def vectors(domain):
    """The vectors of a domain, and their classes."""
    rng = np.random.default_rng({"source": 1, "target": 2}[domain])
    centres, labels = np.random.default_rng(0).normal(size=(CLASSES, FEATURES)) * 2, np.arange(SIZE) % CLASSES
    x = centres[labels] + rng.normal(size=(SIZE, FEATURES))
    return (x if domain == "source" else 2 * x + 3).astype(np.float32), labels


def config_of(folder, data="target", objective=(("task", 1.0),), streams=(), **phase):
    """A config on a domain, with others as streams; the fields are those of its phase."""
    for domain in ("source", "target"):
        x, y = vectors(domain)
        np.savez(folder / f"{domain}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    config = configs.default()
    config.data.update({"name": f"npz:{folder}/{data}.npz", "statistics": "none"})
    for name in streams:
        config.streams[name] = {"data": {"name": f"npz:{folder}/{name}.npz"}, "share": 0.5}
    config.model.name = MODEL
    config.batch_size, config.objective = 16, list(objective)
    config.log_every = 1
    config.model_selection = "last"
    config.phases = [configs.phase("adapt", **{"trainable": ".*", **phase})]
    return config
