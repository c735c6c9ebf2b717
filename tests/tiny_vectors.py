"""A run on vectors that takes a second: 32 vectors of three classes, a perceptron of two layers, eight steps."""

import numpy as np

from jtransfer import config as configs

FEATURES, CLASSES = 6, 3


def config_of(folder, **phase):
    """The config, with its data in a folder; the fields are those of its phase."""
    rng = np.random.default_rng(0)
    centres, labels = rng.normal(size=(CLASSES, FEATURES)) * 2, np.arange(48) % CLASSES
    vectors = (centres[labels] + rng.normal(size=(48, FEATURES))).astype(np.float32)
    arrays = {"x_train": vectors[:32], "y_train": labels[:32], "x_test": vectors[32:], "y_test": labels[32:]}
    np.savez(folder / "vectors.npz", **arrays)
    config = configs.default()
    config.data.name = f"npz:{folder}/vectors.npz"
    config.model.name = "mlp"
    config.model.fields.widths = (8, 8)
    config.batch_size = 16
    config.log_every = 1
    config.eval_every = config.checkpoint_every = 4
    config.phases = [configs.phase("finetune", **{"steps": 8, **phase})]
    return config
