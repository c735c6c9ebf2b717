"""Fine-tunes any model on any data set: --config=configs/transfer.py:model=resnet50,data=cifar10,init=hf://timm/…"""

from jtransfer import config as configs


def get_config(arg=""):
    given = configs.parse(arg, model="resnet18", data="embedded:fashion_mnist", init="scratch")
    config = configs.default()
    config.init = given["init"]
    config.model.name = given["model"]
    config.data.name = given["data"]
    config.optim.lr = 1e-3
    config.optim.warmup = 20
    config.optim.weight_decay = 0.05
    config.optim.clip = 1.0
    config.phases = [configs.phase("finetune", trainable=".*", epochs=10.0)]
    return config
