"""Fine-tunes any model on any data set: --config=configs/transfer.py:model=resnet50,data=cifar10,init=hf://timm/…

how: finetune (all parameters), probe (the head alone), or lora (low-rank adapters of all linear layers, and the head;
rank=8 is theirs).
"""

from jtransfer import config as configs


def get_config(arg=""):
    given = configs.parse(
        arg, model="resnet18", data="embedded:fashion_mnist", init="scratch", how="finetune", rank="8"
    )
    config = configs.default()
    config.init = given["init"]
    config.model.name = given["model"]
    config.data.name = given["data"]
    config.optim.lr = 1e-3
    config.optim.warmup = 20
    config.optim.weight_decay = 0.05
    config.optim.clip = 1.0
    config.phases = {
        "finetune": [configs.phase("finetune", trainable=".*", epochs=10.0)],
        "probe": [configs.phase("probe", trainable="head/.*", cache=True, epochs=10.0)],
        "lora": [configs.phase("lora", epochs=10.0)],
    }[given["how"]]
    if given["how"] == "lora":
        config.optim.lr = 3e-3
        config.adapters = [("all-linear", "lora", {"rank": int(given["rank"])})]
    return config
