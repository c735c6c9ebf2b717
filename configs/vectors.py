"""Vectors to classes with the textbook multilayer perceptron: 128 and 64 hidden units, ReLU, SGD.

python -m jtransfer.main --config=configs/vectors.py:data=npz:features.npz,train=train,test=test,init=pretrained.pth

With `init`, the weights of a run or of a file, the model has their sizes, whatever they are.
"""

from jtransfer import config as configs


def get_config(arg=""):
    given = configs.parse(arg, data="sklearn:digits", train="all[:80%]", test="all[80%:]", init="scratch")
    config = configs.default()
    config.init = given["init"]
    config.model.name = "mlp" if given["init"] == "scratch" else ""
    config.data.name = given["data"]
    config.data.train = given["train"]
    config.data.test = given["test"]
    config.batch_size = 32
    config.eval_batch_size = 256
    config.optim.name = "sgd"
    config.optim.lr = 0.01
    config.optim.schedule = "constant"
    config.phases = [configs.phase("finetune", epochs=20.0)]
    return config
