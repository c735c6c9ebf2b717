"""Models side by side: each sees the input as its own preprocessing makes it, and one head sees the features of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import models, predict, runs, train
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.modalities import faces
from jtransfer.modalities.image.modality import Image
from jtransfer.tasks import TASKS

SMALL = {"name": "vgg11_bn", "width": 2, "image_size": 32}
OTHER = {"name": "resnet18", "depths": (1,), "image_size": 16, "pixels": {"mean": (0.5,) * 3, "std": (0.25,) * 3}}
MLPS = {
    "a": {"name": "mlp", "widths": (4,), "num_features": 6},
    "b": {"name": "mlp", "widths": (5, 3), "num_features": 6},
}


@pytest.mark.parametrize("gates", ["none", "scalar", "softmax"])
def test_the_features_are_those_of_each_model_times_its_gate(gates):
    model = models.create("backbones", 3, backbones=MLPS, gates=gates)
    x = {"a": np.ones((2, 6), np.float32), "b": np.full((2, 6), 2.0, np.float32)}
    variables = model.init(jax.random.key(0), x)
    params = variables["params"]
    each = [
        models.create(**fields).apply({"params": params["backbones"][name]}, x[name], stop="head")
        for name, fields in MLPS.items()
    ]
    np.testing.assert_allclose(model.apply(variables, x, stop="head"), np.concatenate(each, -1), rtol=1e-6)
    for stage in model.stages:
        whole = model.apply(variables, model.apply(variables, x, stop=stage), start=stage)
        np.testing.assert_allclose(whole, model.apply(variables, x), rtol=1e-6)
    if gates != "none":
        params = {**params, "gates": {"gates": np.array([0.0, 1.0], np.float32)}}
        weights = {"scalar": (0, 1), "softmax": 2 * np.exp([0, 1]) / np.exp([0, 1]).sum()}[gates]
        wanted = np.concatenate([w * one for w, one in zip(weights, each, strict=True)], -1)
        np.testing.assert_allclose(model.apply({"params": params}, x, stop="head"), wanted, rtol=1e-5)
    assert models.create("backbones", **model.description()) == model


def test_images_are_prepared_for_each_model_by_its_own_preprocessing():
    model = models.create("backbones", 3, backbones={"a": SMALL, "b": OTHER})
    picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    modality, task = Image(), TASKS["classify"]
    row = faces.make_transform(modality, task, model, train=False)({"image": picture, "label": 1})
    assert row["label"] == 1
    assert {name: x.shape for name, x in row["inputs"].items()} == {"a": (32, 32, 3), "b": (16, 16, 3)}
    batch = jax.tree.map(lambda x: jnp.asarray(x[None]), row["inputs"])
    prepared = faces.make_preprocess(modality, model, train=False)(batch)
    for name, fields in {"a": SMALL, "b": OTHER}.items():
        alone = models.create(**fields)
        one = modality.make_transform(task, alone, train=False)({"image": picture, "label": 1})["inputs"]
        assert np.array_equal(row["inputs"][name], one)
        wanted = modality.make_preprocess(alone, train=False)(jnp.asarray(one[None]))
        assert np.array_equal(prepared[name], wanted)
    rng = np.random.default_rng(1)
    train_rows = faces.make_transform(Image(transform="random_crop(30)|resize(8)"), task, model, train=True)
    inputs = train_rows({"image": picture, "label": 1}, rng)["inputs"]
    assert np.array_equal(inputs["a"], inputs["b"])  # the same crop


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbones")
    config = tiny_vectors.config_of(folder, steps=2)
    train.run(config, folder / "first")
    train.run(config_of(folder), folder / "run")
    return folder


def config_of(folder):
    config = tiny_vectors.config_of(folder)
    config.init_parts.a = str(folder / "first")
    config.model.name = "backbones"
    config.model.fields = {"backbones": {"a": "", "b": {"name": "mlp", "widths": (4,)}}, "gates": "softmax"}
    config.phases = [configs.phase("probe", trainable="(gates|head)/.*", steps=2, cache=True)]
    return config


def test_a_run_trains_the_gates_and_the_head_on_features_of_all(run):
    first, stored = runs.open(run / "first"), runs.open(run / "run")
    own, whole = trees.flatten(first.variables()), trees.flatten(stored.variables())
    for path, leaf in own.items():
        if not path.startswith("params/head/"):
            assert np.array_equal(whole[path.replace("params/", "params/backbones/a/")], leaf)
    assert np.abs(whole["params/gates/gates"]).max() > 0
    rows = next(line for line in stored.lines if line.get("event") == "phase_start")["table"]
    assert {row["group"]: row["status"] for row in rows}["gates"] == "trainable"
    probs, _ = predict.predict(run / "run", ["1,2,3,4,5,6"])
    assert probs.shape == (1, 3)


WRONG = {
    "unknown gates 'hard'": {"gates": "hard"},
    "give a dict of models by names": {"backbones": {}},
    "'b c' is no name of letters": {"backbones": {"a": "", "b c": "mlp"}},
    "name the model of the part 'b', or": {"backbones": {"a": "", "b": 3}},
    "they take inputs of different kinds: a vector; b image": {"backbones": {"a": "", "b": SMALL}},
    "unknown model 'mlq'": {"backbones": {"a": "", "b": "mlq"}},
    "name the model of the part 'b', or give its weights in init_parts.b": {"backbones": {"a": "", "b": ""}},
    "unknown part in init_parts 'a'": {"backbones": {"b": "mlp"}},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_told_before_the_run(run, tmp_path, said):
    config = config_of(run).to_dict()
    config["model"]["fields"] |= WRONG[said]
    with pytest.raises(InputError, match=said):
        train.run(config, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_init_alone_and_mixup_are_refused(run, tmp_path):
    config = config_of(run)
    config.init = str(run / "first")
    with pytest.raises(InputError, match="is of no part of backbones; give init_parts, of a, b"):
        train.run(config, tmp_path / "none")
    config = config_of(run)
    config.mixup = 0.2
    with pytest.raises(InputError, match=r"mixup=0\.2 can't be done with models side by side"):
        train.run(config, tmp_path / "none")
