"""A run of domain adaptation on vectors that takes seconds: a labelled source, and a target that is the source shifted.

The target's labels are there, so that a test may see that nobody looks at them.
"""

import numpy as np

from jtransfer import config as configs

FEATURES, CLASSES = 6, 3


def config_of(folder, shift=2.0, validation=True, **fields):
    """The config, with its data in a folder; `validation` is whether source and target have a validation split."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, FEATURES)) * 2
    for name, moved in (("source", 0.0), ("target", shift)):
        labels = rng.integers(0, CLASSES, 96)
        vectors = (centres[labels] + rng.normal(size=(96, FEATURES)) + moved).astype(np.float32)
        arrays = {"x_train": vectors[:64], "y_train": labels[:64], "x_test": vectors[64:], "y_test": labels[64:]}
        np.savez(folder / f"{name}.npz", **arrays)
    config = configs.default()
    config.data.name = f"npz:{folder}/target.npz"
    config.data.statistics = "none"  # each domain's own would take the shift away
    config.model.name = "mlp"
    config.model.fields.widths = (8, 8)
    config.streams = {"source": {"data": {"name": f"npz:{folder}/source.npz", "train": "train"}, "share": 0.5}}
    if validation:
        config.data.train, config.data.validation = "train[:48]", "train[48:]"
        config.streams["source"]["data"].update({"train": "train[:48]", "validation": "train[48:]"})
    config.objective = [("task", {"on": ["source"]}), ("coral", 0.1)]
    config.batch_size = 16
    config.optim.lr = 0.01
    config.log_every = 1
    config.eval_every = config.checkpoint_every = 2
    config.keep = 9
    config.phases = [configs.phase("adapt", steps=6)]
    with config.unlocked():
        config.update(fields)
    return config
