"""A run that takes seconds: a small ResNet, 64 images, three phases of 6 steps; the argument is how many of them."""

from jtransfer import config as configs


def get_config(phases="3"):
    config = configs.default()
    config.model.name = "resnet18"
    config.model.fields.depths = (1, 1)
    config.model.fields.image_size = 16
    config.data.train = "train[:64]"
    config.data.test = "test[:32]"
    config.data.transform = "resize(16)|flip_lr"
    config.batch_size = 16
    config.optim.ema = 0.9
    config.optim.clip = 1.0
    config.optim.weight_decay = 0.05
    config.checkpoint_every = 2
    config.eval_every = 3
    config.log_every = 1
    config.phases = [
        configs.phase("probe", trainable="head/.*", steps=6, cache=True),
        configs.phase("top", trainable="(stage2|head)/.*", steps=6),
        configs.phase("more", trainable="(stage[12]|head)/.*", steps=6),
    ]
    config.phases = config.phases[: int(phases)]
    return config
