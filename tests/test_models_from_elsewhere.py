"""Models that a user brings: a class or a function at an address, with or without a map of another library's names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models, weights
from jtransfer.core.errors import InputError

PLAIN = """
import functools
import flax.linen as nn


class Net(nn.Module):
    num_classes: int = 5
    width: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(self.width, name="hidden")(x))
        return nn.Dense(self.num_classes, name="head")(x)


class Bare(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)


def deep(width: int):
    return Net(width=2 * width)


wide = functools.partial(Net, width=16)
made = Net()


def text():
    return "no module"
"""
MAPPED = """
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jtransfer.models import Chain
from jtransfer.models.head import Head
from jtransfer.weights.mapping import Scheme, dense


class Body(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, train=False):
        return nn.relu(nn.Dense(self.width, name="dense")(x))


class Net(Chain):
    width: int = 4

    def example_input(self, batch=1):
        return jnp.zeros((batch, 3))

    def parts(self):
        return {"body": partial(Body, self.width), "head": partial(Head, self.num_classes)}


def schemes(model):
    return (Scheme("torch", (*dense("fc1", "body/dense"), *dense("fc2", "head/dense"))),)
"""


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(PLAIN)
    return path


def test_a_class_a_function_and_a_partial_are_models(plain):
    made = [
        models.create(f"{plain}:{name}", num_classes=7, **fields)
        for name, fields in (("Net", {"width": 3}), ("wide", {}))
    ]
    assert [(model.num_classes, model.width) for model in made] == [(7, 3), (7, 16)]
    assert models.create(f"{plain}:deep", width=5).width == 10
    assert models.create("flax.linen:Dense", features=[3]).features == (3,)


def test_what_the_framework_gives_is_left_out_where_there_is_no_such_field(plain):
    assert models.create(f"{plain}:Bare", num_classes=7, dtype=jnp.bfloat16, width=3).width == 3


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("Net", {"wdith": 3}, "unknown field of .*net.py:Net 'wdith'; nearest: width"),
        ("deep", {"width": 1, "depth": 3}, "unknown field of .*net.py:deep 'depth'"),
        ("Nett", {}, "nearest: Net"),
        ("made", {}, "made' is a Net; give a class of modules, or a function that makes one"),
        ("text", {}, "text' makes a str; it must be, or make, a module"),
    ],
)
def test_what_is_no_model_is_one_line(plain, name, fields, message):
    with pytest.raises(InputError, match=message):
        models.create(f"{plain}:{name}", **fields)


def test_a_module_without_a_map_reads_its_own_names_alone(plain):
    model, x = models.create(f"{plain}:Net"), np.ones((1, 3), np.float32)
    variables = model.init(jax.random.key(0), x)
    own = {
        f"{name}/{kind}": variables["params"][name][kind] for name in ("hidden", "head") for kind in ("kernel", "bias")
    }
    loaded, report = weights.load(own, model, sample=x)
    assert report.scheme == "jtransfer"
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    with pytest.raises(InputError, match=r"no weights map for Net.* needs a function schemes\(model\)"):
        weights.load({"fc.weight": np.zeros((4, 3), np.float32)}, model, sample=x)
    with pytest.raises(InputError, match=r"Net has no example_input"):
        weights.load(own, model)


def test_the_map_stands_in_the_module_of_the_class(tmp_path):
    (tmp_path / "mapped.py").write_text(MAPPED)
    model = models.create(f"{tmp_path / 'mapped.py'}:Net", num_classes=2)
    random = np.random.default_rng(0)
    theirs = {"fc1.weight": (4, 3), "fc1.bias": (4,), "fc2.weight": (2, 4), "fc2.bias": (2,)}
    theirs = {name: random.standard_normal(shape).astype(np.float32) for name, shape in theirs.items()}
    variables, report = weights.load(theirs, model)
    assert report.scheme == "torch"
    x = random.standard_normal((5, 3)).astype(np.float32)
    hidden = np.maximum(x @ theirs["fc1.weight"].T + theirs["fc1.bias"], 0)
    expected = hidden @ theirs["fc2.weight"].T + theirs["fc2.bias"]
    np.testing.assert_allclose(model.apply(variables, x), expected, atol=1e-5)
