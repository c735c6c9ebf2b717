"""A class of Flax NNX goes through whole runs by its address: trained in parts, read back, evaluated, begun from."""

import numpy as np
import pytest
import tiny_vectors
from flax import nnx

from jtransfer import evaluate, runs, train
from jtransfer.core import tree as trees


class Blocks(nnx.Module):
    def __init__(self, num_classes: int, rngs: nnx.Rngs):
        self.blocks = nnx.List([nnx.Linear(6, 6, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.head = nnx.Linear(6, num_classes, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = nnx.relu(block(x))
        return self.head(self.norm(x))


def config_of(folder):
    config = tiny_vectors.config_of(folder, trainable="(blocks/1|head)/.*", steps=16, optim={"lr": 0.05})
    config.model.name, config.model.fields = f"{__file__}:Blocks", {}
    return config


def numbered(tree):
    """The tree with lists' places as numbers, as NNX has them; files have texts."""
    if not isinstance(tree, dict):
        return np.asarray(tree)
    return {int(key) if key.isdigit() else key: numbered(leaf) for key, leaf in tree.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nnx")


@pytest.fixture(scope="module")
def scalars(folder):
    return train.run(config_of(folder), folder / "run")


def test_a_run_trains_what_its_rules_say(folder, scalars):
    variables = runs.open(folder / "run").variables()
    found = {path: leaf.shape for path, leaf in trees.flatten(variables["params"]).items()}
    assert found == {
        "blocks/0/bias": (6,),
        "blocks/0/kernel": (6, 6),
        "blocks/1/bias": (6,),
        "blocks/1/kernel": (6, 6),
        "head/bias": (3,),
        "head/kernel": (6, 3),
        "norm/bias": (6,),
        "norm/scale": (6,),
    }
    np.testing.assert_array_equal(variables["params"]["norm"]["scale"], np.ones(6))
    np.testing.assert_array_equal(variables["params"]["blocks"]["0"]["bias"], np.zeros(6))
    assert np.abs(variables["params"]["blocks"]["1"]["bias"]).max() > 0


def test_what_was_evaluated_is_what_the_module_itself_gives(folder, scalars):
    variables = runs.open(folder / "run").variables()
    module = Blocks(3, rngs=nnx.Rngs(0))
    for collection in ("params", "batch_stats"):
        nnx.update(module, numbered(variables[collection]))
    module.eval()
    arrays = np.load(folder / "vectors.npz")
    given = np.asarray(module(arrays["x_test"]))
    assert evaluate.evaluate(str(folder / "run")).metrics["accuracy"] == scalars["accuracy"]
    assert (given.argmax(1) == arrays["y_test"]).mean() == pytest.approx(scalars["accuracy"])


def test_a_run_goes_on_from_it(folder, scalars):
    config = config_of(folder)
    config.init = str(folder / "run")
    train.run(config, folder / "more")
    first, more = (runs.open(folder / name).variables()["params"] for name in ("run", "more"))
    np.testing.assert_array_equal(first["blocks"]["0"]["kernel"], more["blocks"]["0"]["kernel"])
    assert runs.open(folder / "more").config.init == str(folder / "run")
