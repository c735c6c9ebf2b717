"""The run that faults happen to: a perceptron on vectors, two phases of ten steps; the argument is their file."""

from jtransfer import config as configs


def get_config(file):
    config = configs.default()
    config.data.name = f"npz:{file}"
    config.model.name = "mlp"
    config.model.fields.widths = (8, 8)
    config.model.fields.dropout = 0.1
    config.batch_size = 16
    config.optim.ema = 0.9
    config.optim.clip = 1.0
    config.checkpoint_every = 2
    config.eval_every = 3
    config.log_every = 1
    config.phases = [
        configs.phase("probe", trainable="head/.*", steps=10, cache=True),
        configs.phase("rest", steps=10),
    ]
    return config
