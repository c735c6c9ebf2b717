"""Runs of domain adaptation from beginning to end: what each trains, what it looks at, and what is refused."""

import shutil
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from test_transfer_terms import context
from two_domains import config_of, vectors

from jtransfer import checkpoint, objectives, runs, train
from jtransfer import config as configs
from jtransfer.core import registry
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.runs import build, config_file, feed, log


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a run on the source."""
    folder = tmp_path_factory.mktemp("source")
    train.run(config_of(folder, "source", steps=3), folder / "run")
    return folder / "run"


def trained(source, folder, **given):
    """The variables that a run from a source run begins and ends with, and its log."""
    config = config_of(folder, **given)
    config.init = str(source)
    train.run(config, folder / "run")
    return runs.open(source).variables(), runs.open(folder / "run").variables(), log.read(folder / "run")


def test_shot_moves_all_but_the_head_without_a_source(source, tmp_path):
    objective = [("infomax", 1.0), ("shot", {"weight": 0.3, "at": "features"})]
    before, after, lines = trained(source, tmp_path, objective=objective, trainable="(?!head/).*", steps=3)
    moved = {path for path, leaf in trees.flatten(before).items() if (leaf != trees.flatten(after)[path]).any()}
    assert "params/features/kernel" in moved
    assert not any(path.startswith("params/head") for path in moved)
    assert all({"infomax", "shot"} <= line.keys() for line in lines if line.get("split") == "train")


def test_adda_trains_an_encoder_of_the_target_for_the_head_of_the_source(source, tmp_path):
    config = config_of(tmp_path, objective=[("adda", {"at": "ln", "widths": (8,)})], streams=["source"], steps=4)
    config.streams.source.norms, config.phases[0].trainable = "statistics", "(?!head/).*"
    config.init, config.checkpoint_every = str(source), 2
    train.run(config, tmp_path / "run")
    before, after = (trees.flatten(runs.open(folder).variables()) for folder in (source, tmp_path / "run"))
    assert before.keys() == after.keys()
    moved = {path for path, leaf in before.items() if (leaf != after[path]).any()}
    assert moved == {path for path in before if not path.startswith("params/head")}
    ends = checkpoint.load_params(tmp_path / "run", 4)
    jax.tree.map(np.testing.assert_array_equal, ends["initial"], runs.open(source).variables()["params"])
    began = ends["initial_state"]["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, began, runs.open(source).variables()["batch_stats"])
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    train.run(config, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, checkpoint.load_params(tmp_path / "run", 4), ends)


CONFIG = str(Path(__file__).parent.parent / "configs/adapt.py")
ADAPT = registry.load(f"{CONFIG}:METHODS"), registry.load(f"{CONFIG}:SOURCE_FREE")


@pytest.mark.parametrize("method", ["source", "adda", *ADAPT[0], *ADAPT[1]])
def test_the_config_of_each_method_is_whole_and_looks_at_no_label_of_the_target(method):
    init = "" if method in ADAPT[0] or method == "source" else ",init=RUN"
    config = configs.complete(config_file.load(f"{CONFIG}:method={method}{init}"))
    made = objectives.make(config.objective, context(("target", *config.streams)))
    assert config.model_selection == "last"
    assert not config.data.validation
    if method != "source" and config.phases[0].steps:
        seen = [dict(entry[1])["on"] for entry in config.objective if entry[0] == "task"]
        assert seen in ([["source"]], [])
        assert bool(seen) == (method in ADAPT[0])
    assert len(made.terms) >= 1


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("method=dan", "unknown method 'dan'; nearest: dann"),
        ("method=shot", "method=shot begins with a run on the source"),
    ],
)
def test_a_method_that_there_is_not_is_one_line(argument, says):
    with pytest.raises(InputError, match=says):
        config_file.load(f"{CONFIG}:{argument}")


def images():
    """A config with a second view of each image."""
    config = configs.default()
    config.data.update({"train": "train[:32]", "test": "test[:8]", "transform": "resize(16)", "channels": 1})
    config.model.name = f"{__file__}:Flat"
    config.streams.source = {"data": {"name": "embedded:fashion_mnist", "train": "train[100:132]"}, "share": 0.5}
    config.batch_size, config.model_selection = 16, "last"
    config.objective = [("task", {"on": ["source"]}), ("fixmatch", {"threshold": 0.01})]
    config.phases = [configs.phase("adapt", trainable=".*", steps=2)]
    return config


def cached():
    config = images()
    config.model.name = "resnet18"
    config.model.fields.update({"depths": (1, 1), "image_size": 16})
    config.phases = [configs.phase("probe", trainable="head/.*", steps=2, cache=True)]
    return config


class Flat(nn.Module):
    """A linear layer on pixels."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes, name="head")(x.reshape(len(x), -1))


def test_both_views_of_an_example_are_drawn_by_its_own_generator(tmp_path):
    config = images()
    config.data.strong = "resize(16)|flip_lr(1.0)"
    run = build.prepare(config, tmp_path / "run")
    batches = [next(feed.Feed(run, run.phases[0]).train_batches(step)) for step in (0, 0, 1)]
    jax.tree.map(np.testing.assert_array_equal, batches[0], batches[1])
    assert "strong" not in batches[0]["source"]
    for batch in batches:
        np.testing.assert_array_equal(batch["target"]["strong"], batch["target"]["inputs"][:, :, ::-1])


def test_fixmatch_runs_with_the_usual_strong_view_which_is_printed(tmp_path, capsys):
    train.run(images(), tmp_path / "run")
    assert "target: the strong view of an example is resize(size=16" in capsys.readouterr().out
    lines = [line for line in log.read(tmp_path / "run") if line.get("split") == "train"]
    assert lines[-1]["fixmatch/used"] == 1


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (lambda folder: cached(), "with cache=True there are no second views"),
        (
            lambda folder: config_of(folder, objective=["task", "fixmatch"], steps=1),
            "a term needs a strong view of each example, and vectors have none",
        ),
    ],
)
def test_a_view_that_there_is_not_is_told_before_anything_is_written(config, says, tmp_path):
    with pytest.raises(InputError) as error:
        build.prepare(config(tmp_path), tmp_path / "run")
    assert says in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["resize(12)", "resize(16)|normalize((0.2, 0.1))"])
def test_a_strong_view_that_does_not_fit_is_told(text, tmp_path):
    config = images()
    config.data.strong = text
    with pytest.raises(InputError, match=r"data\.strong (gives inputs of the shapes|normalises otherwise)"):
        build.prepare(config, tmp_path / "run")


def without_labels(folder, **given):
    """A config whose target is a table of numbers alone."""
    config = config_of(folder, **given)
    np.savetxt(folder / "target.csv", vectors("target")[0], delimiter=",", header="a,b,c,d,e", comments="")
    config.data.update({"name": f"csv:{folder}/target.csv", "train": "all", "test": "all", "label_key": ""})
    config.modality = "vector"
    return config


def test_a_target_without_labels_has_the_classes_of_the_source(tmp_path, capsys):
    objective = [("task", {"on": ["source"]}), ("mmd", {"at": "features"})]
    config = without_labels(tmp_path, objective=objective, streams=["source"], steps=2)
    assert train.run(config, tmp_path / "run") == {}
    run = runs.open(tmp_path / "run")
    assert (run.config.task, run.class_names) == ("classify", ["0", "1", "2"])
    assert (
        "the target's examples have no labels; their classes are those of the stream 'source'"
        in capsys.readouterr().out
    )
    assert not [line for line in run.lines if line.get("split") == "test"]
    assert train.run(config, tmp_path / "run") == {}


def test_without_a_source_they_are_those_of_the_run_that_it_begins_with(source, tmp_path):
    config = without_labels(tmp_path, objective=["infomax"], trainable="norms", statistics="target", steps=2)
    config.init = str(source)
    train.run(config, tmp_path / "run")
    before, after = runs.open(source).variables(), runs.open(tmp_path / "run").variables()
    jax.tree.map(np.testing.assert_array_equal, before["params"]["head"], after["params"]["head"])
    assert (before["params"]["bn"]["scale"] != after["params"]["bn"]["scale"]).any()


def test_a_task_on_a_target_without_labels_is_told(tmp_path):
    config = without_labels(tmp_path, streams=["source"], steps=2)
    config.task = "classify"
    with pytest.raises(InputError, match="task='classify' needs labels"):
        build.prepare(config, tmp_path / "run")
