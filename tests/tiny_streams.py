"""A run on two streams that takes seconds; the argument is how they are mixed: batch or alternate."""

from jtransfer import config as configs


def get_config(mode="batch"):
    config = configs.default()
    config.model.name = "vit_tiny_patch16"
    config.model.fields.update({"width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "patch": 8, "image_size": 16})
    config.data.train, config.data.test = "train[:48]", "test[:32]"
    config.data.transform = "resize(16)|flip_lr"
    config.streams = {
        "other": {"data": {"name": "embedded:fashion_mnist", "train": "train[100:164]"}, "share": 0.5, "head": "own"}
    }
    config.mixing.mode = mode
    config.batch_size = 16
    config.checkpoint_every = 2
    config.eval_every = 4
    config.log_every = 1
    config.phases = [
        configs.phase("probe", trainable="head/.*", steps=4, cache=True),
        configs.phase("finetune", trainable="(layer_1|head)/.*", steps=6),
    ]
    return config
