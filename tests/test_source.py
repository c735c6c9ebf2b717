"""Runs that remember the task of their init: terms of its head and data, and how well it is done before and after."""

import shutil

import jax
import numpy as np
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import runs, train
from jtransfer.core.errors import InputError
from jtransfer.reporting.page import write
from jtransfer.runs import alone, build, log
from jtransfer.training import checkpoint

TERMS = ["task", ("ewc", 10.0), "lwf", "cotuning", ("delta", {"examples": 8, "weight": 0.1})]


def other_task(folder):
    """Data of two classes, of the same numbers."""
    rng = np.random.default_rng(1)
    labels = np.arange(48) % 2
    vectors = (rng.normal(size=(48, tiny_vectors.FEATURES)) + 2 * labels[:, None]).astype(np.float32)
    np.savez(folder / "other.npz", x_train=vectors[:32], y_train=labels[:32], x_test=vectors[32:], y_test=labels[32:])
    return f"npz:{folder}/other.npz"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    config = tiny_vectors.config_of(folder)
    config.optim.lr = 0.05
    train.run(config, folder / "first")
    return folder


def second(place, objective=("task",), **fields):
    config = tiny_vectors.config_of(place)
    config.source = {"name": config.data.name}
    config.data.name = other_task(place)
    config.init = str(place / "first")
    config.objective = list(objective)
    config.optim.lr = 0.05
    config.update(fields)
    return config


@pytest.fixture(scope="module")
def remembering(place):
    config = second(place, TERMS)
    config.optim.l2sp = 0.1
    config.optim.sam = 0.01
    config.noise = [("mixout", {"p": 0.3})]
    train.run(config, place / "second")
    return place / "second"


def test_the_source_task_is_looked_at_before_and_after(place, remembering):
    lines = log.read(remembering)
    before = next(line for line in lines if line.get("event") == "source")
    after = next(line for line in reversed(lines) if line.get("split") == "test")
    first = next(line for line in reversed(log.read(place / "first")) if line.get("split") == "test")
    assert before["step"] == 0
    assert before["source/accuracy"] == pytest.approx(first["accuracy"])
    assert 0 <= after["source/accuracy"] <= 1
    assert {"accuracy", "source/macro_f1"} <= set(after)


def test_the_report_says_what_is_forgotten(remembering):
    page = " ".join(write(remembering).read_text().split())
    assert "The results" in page
    assert '<th scope="row">source</th><td>test</td><td>accuracy</td>' in page
    assert "before the run" in page


def test_replay_of_the_source_goes_on_with_its_head(place, tmp_path):
    config = second(place)
    config.phases = [configs.phase("replay", steps=2)]
    config.streams.source = {"data": dict(config.source) | {"test": "test"}, "share": 0.5}
    train.run(config, tmp_path / "replayed")
    before = next(line for line in log.read(tmp_path / "replayed") if line.get("event") == "source")
    first = [line for line in log.read(place / "first") if line.get("split") == "test"][-1]
    assert before["source/accuracy"] == pytest.approx(first["accuracy"])
    moved = checkpoint.load_params(tmp_path / "replayed", "last")["aux"]["heads"]["source"]["dense"]["kernel"]
    kept = runs.open(place / "first").variables()["params"]["head"]["dense"]["kernel"]
    assert 0 < np.abs(moved - kept).max() < 0.3


def test_each_stream_is_compared_with_its_run_alone(place, tmp_path):
    """A run on both tasks, each with its run alone; the values are those of the logs."""
    both = tiny_vectors.config_of(place)
    both.streams = {"other": {"data": {"name": other_task(place), "test": "test"}, "share": 0.5}}
    both.alone = {"target": str(place / "first"), "other": str(place / "other")}
    both.multitask = ("cagrad", {"c": 0.4})
    single = tiny_vectors.config_of(place)
    single.data.name = other_task(place)
    train.run(single, place / "other")
    train.run(both, tmp_path / "both")
    last = [line for line in log.read(tmp_path / "both") if line.get("split") == "test"][-1]
    found = {gain.task: gain for gain in alone.gains(runs.open(tmp_path / "both"))}
    assert found["other"].together == last["other/accuracy"]
    assert found["target"].together == last["accuracy"]
    for name, folder in {"target": "first", "other": "other"}.items():
        own = [line for line in log.read(place / folder) if line.get("split") == "test"][-1]
        assert found[name].alone == own["accuracy"]
    page = write(tmp_path / "both").read_text()
    assert page.count("trained alone") == 2


def test_what_is_measured_is_kept_and_is_no_part_of_the_model(remembering):
    held = checkpoint.load_params(remembering, "last")
    relation, fisher = held["constants"]["cotuning"], jax.tree.leaves(held["constants"]["ewc"])
    np.testing.assert_allclose(relation.sum(1), 1, rtol=1e-5)
    assert relation.shape == (2, 3)
    assert all((leaf >= 0).all() for leaf in fisher)
    assert sum(float(leaf.sum()) for leaf in fisher) > 0
    for weights in held["constants"]["delta"].values():
        assert float(weights.sum()) == pytest.approx(1, rel=1e-5)
        assert float(weights.std()) > 0
    assert set(runs.open(remembering).variables()) == {"params"}


def test_a_run_that_goes_on_ends_with_the_same_bits(remembering, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(remembering, again)
    shutil.rmtree(again / "checkpoints" / "8")
    train.run(runs.open(again).config, again)
    ends = [checkpoint.load_params(folder, "last") for folder in (remembering, again)]
    jax.tree.map(np.testing.assert_array_equal, *ends)


@pytest.mark.parametrize(
    ("fields", "objective", "says"),
    [
        ({"init": "scratch"}, ("task", "lwf"), "config.init, which is 'scratch'"),
        ({"source": {"name": "other"}}, ("task", "ewc"), "has 2 classes, and the head of config.init 3"),
        ({"multitask": "pcgrad"}, ("task",), "multitask needs two tasks or more"),
        ({"multitask": "pcgard"}, ("task", "mcc"), "unknown multi-task method 'pcgard'; nearest: pcgrad"),
        ({"multitask": ("cagrad", {"d": 1})}, ("task", "mcc"), "unknown field of the multi-task method 'cagrad': 'd'"),
        ({"noise": ("stochnorm",)}, ("task",), "'stochnorm' is for models with BatchNorm"),
        (
            {"optim.l2sp": 0.1, "optim.l2sp_rules": ((".*", False),)},
            ("task",),
            "no phase trains a parameter that optim.l2sp",
        ),
        ({"alone": {"other": "x"}}, ("task",), "unknown stream in alone: 'other'"),
        ({"alone": {"target": "x"}}, ("task",), "alone.target='x' is not the folder of a run"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_written(place, tmp_path, fields, objective, says):
    config = second(place, objective)
    if "source" in fields:
        fields = {"source": {"name": config.data.name}}
    config.update_from_flattened_dict(fields)
    with pytest.raises(InputError) as error:
        build.prepare(config, tmp_path / "run")
    assert says in str(error.value)
    assert not (tmp_path / "run").exists()
