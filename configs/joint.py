"""Joint training: a target with ten labels a class and a source with many share a trunk.

--config=configs/joint.py:how=joint,target=digits

how: joint (both in each batch), target (alone), source (alone, to begin with by init=RUN).
target: digits (scikit-learn's 8×8 digits, which share MNIST's head) or fashion (Fashion-MNIST, with a head of its own).
"""

import numpy as np

from jtransfer import config as configs
from jtransfer import data

SOURCE = {"name": "mnist", "train": "train", "test": "test[:2000]"}
LABELS = 10  # of each class of the target


def get_config(arg=""):
    given = configs.parse(arg, how="joint", target="digits", init="scratch", dir="", steps="300")
    config = configs.default()
    config.modality = "image"
    config.init = given["init"]
    config.model.name = "resnet18"
    config.model.fields.update({"depths": (1, 1), "image_size": 28})
    config.data.update({"name": f"{__file__}:{given['target']}", "dir": given["dir"], "channels": 1})
    config.data.update({"transform": "resize(28)|pad(2)|random_crop(28)", "eval_transform": "resize(28)"})
    config.batch_size = 64
    config.optim.lr = 2e-3
    config.optim.warmup = 20
    config.optim.weight_decay = 0.05
    config.phases = [configs.phase("finetune", trainable=".*", steps=int(given["steps"]))]
    config.eval_every = 10_000  # at the end alone
    if given["how"] == "joint":
        config.streams = {"source": {"data": {key: SOURCE[key] for key in ("name", "train")}, "share": 0.5}}
    if given["how"] == "source":
        config.data.update(SOURCE)
    return config


def digits(spec):
    """Scikit-learn's 8×8 digits: ten of each class to train on, and the second half to test on."""
    every = data.open({**spec, "name": "sklearn:digits", "modality": "image"}, "all")
    half = len(every) // 2
    return {"train": few(every, range(half)), "test": chosen(every, range(half, len(every)))}


def fashion(spec):
    """Fashion-MNIST: ten training images of each class, and 2,000 test images."""
    named = {**spec, "name": "fashion_mnist", "modality": "image"}
    train = data.open(named, "train")
    return {"train": few(train, range(len(train))), "test": data.open(named, "test[:2000]")}


def few(source, numbers):
    """The first examples of each class, among those of these numbers."""
    labels = source.labels
    first = [[i for i in numbers if labels[i] == label][:LABELS] for label in range(len(source.class_names))]
    return chosen(source, sorted(i for some in first for i in some))


def chosen(source, numbers):
    """The examples of a source with these numbers."""
    numbers, labels = list(numbers), np.asarray(source.labels)[list(numbers)]
    return data.Source(
        len(numbers), lambda i: source[numbers[i]], source.class_names, lambda start, stop: labels[start:stop]
    )
