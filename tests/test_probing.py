"""The curve of probes over the stages of a model, as function and as command."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_vectors
from sklearn.linear_model import LogisticRegression

from jtransfer import extract, probe, probes, train
from jtransfer.core.errors import InputError
from jtransfer.runs import extraction, probing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    train.run(tiny_vectors.config_of(folder, steps=4), folder / "run")
    return folder


def test_each_stage_has_a_point_and_the_test_split_is_read_by_the_best_alone(run):
    found = probe.probe(run / "run", how="logistic")
    assert [(point.stage, point.width) for point in found.points] == [("hidden1", 8), ("hidden2", 8)]
    assert found.protocol == "chosen on a fifth of the training split, 7 examples"
    best = max(found.points, key=lambda point: point.accuracy)
    assert found.best == best.stage
    tables = extract.extract(run / "run", stage=best.stage)
    reference = LogisticRegression(C=1e3).fit(tables["train"].features, tables["train"].labels)
    near = reference.score(tables["test"].features, tables["test"].labels)
    assert found.test["accuracy"] == pytest.approx(near, abs=0.2)
    assert found.test["examples"] == 16


def test_the_test_split_is_not_opened_before_the_stage_is_chosen(run, monkeypatch):
    trunk, opened = extraction.trunk(run / "run"), []
    trunk = trunk._replace(open=lambda split, real=trunk.open: opened.append(split) or real(split))
    chosen = []
    monkeypatch.setitem(
        probing.HOW, "ridge", lambda x, y, real=probing.HOW["ridge"]: chosen.append(list(opened)) or real(x, y)
    )
    probing.curve(trunk)
    assert chosen == [["train"], ["train"]]
    assert opened == ["train", "test"]


def test_a_validation_split_chooses(run):
    config = tiny_vectors.config_of(run)
    config.model.name, config.model.fields = "", {}
    config.data.train, config.data.validation = "train[:24]", "train[24:]"
    found = probe.probe(run / "run", config=config, how="knn", stages=["hidden1"])
    assert found.protocol == "chosen on the validation split"
    assert [point.stage for point in found.points] == ["hidden1"]


def test_the_command_prints_the_curve_and_writes_it(run, tmp_path, capsys):
    probe.main(["probe", str(run / "run"), f"--out={tmp_path}/curve.json"])
    said, told = capsys.readouterr().out, json.loads((tmp_path / "curve.json").read_text())
    assert [point["stage"] for point in told["points"]] == ["hidden1", "hidden2"]
    assert "ridge is best on" in said
    assert "on the test split, read by it alone" in said


def test_a_layer_by_sgd_is_as_good_as_scikit_learns_on_what_is_easy(run):
    found = probe.probe(run / "run", how="sgd", stages=["hidden2"])
    assert found.how == "sgd"
    assert found.points[0].setting.startswith("lr=")
    assert found.points[0].accuracy >= probe.probe(run / "run", stages=["hidden2"]).points[0].accuracy - 0.2


def test_shots_are_episodes_of_each_stage(run, tmp_path, capsys):
    probe.main(["probe", str(run / "run"), "--shots=1,3", f"--out={tmp_path}/shots.json"])
    said, told = capsys.readouterr().out, json.loads((tmp_path / "shots.json").read_text())
    assert [(point["stage"], point["shots"]) for point in told["points"]] == [
        ("hidden1", 1),
        ("hidden1", 3),
        ("hidden2", 1),
        ("hidden2", 3),
    ]
    assert told["how"] == "centroid"
    assert [point["stage"] for point in told["test"]] == [told["best"]] * 2
    tables = extract.extract(run / "run", stage="hidden1")["train"]
    x = (tables.features - tables.features.mean(0)) / (tables.features.std(0) + 1e-5)
    expected = probes.episodes(x, tables.labels, told["ways"], 3, queries=_queries(tables.labels, 3))
    assert told["points"][1]["accuracy"] == pytest.approx(expected.accuracy)
    assert "600 episodes of 3 classes of the training split" in said


def _queries(labels, shots):
    return min(15, int(np.bincount(labels)[np.unique(labels)].min()) - shots)


@pytest.mark.parametrize("more", [(), ("--shots=1,2",)])
def test_a_page_has_the_curve(run, tmp_path, more):
    probe.main(["probe", str(run / "run"), f"--out={tmp_path}/curve.html", *more])
    text = (tmp_path / "curve.html").read_text()
    for words in ("<svg", "hidden2", "<caption>", "text/csv", "is best"):
        assert words in text
    probe.main(["probe", str(run / "run"), f"--out={tmp_path}/curve.svg", *more])
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_maps_and_texts_are_pooled_to_vectors():
    maps = jnp.arange(24.0).reshape(2, 2, 3, 2)
    np.testing.assert_allclose(probing.pooled(maps, "a"), np.asarray(maps).reshape(2, 6, 2).mean(1))
    tokens, mask = jnp.arange(12.0).reshape(2, 3, 2), jnp.array([[1, 1, 0], [1, 0, 0]], bool)
    found = probing.pooled({"x": tokens, "mask": mask[:, None, None]}, "a")
    np.testing.assert_allclose(found, [[1, 2], [6, 7]])
    with pytest.raises(InputError, match="the stage 'a' gives no vectors"):
        probing.pooled({"x": mask}, "a")


WRONG = {
    "unknown stage before the head 'head'": ["RUN", "--stages=head"],
    "unknown probe 'svm'": ["RUN", "--how=svm"],
    "give a run or weights": [],
    "--shots=a: give numbers": ["RUN", "--shots=a"],
    "give shots of 1 or more": ["RUN", "--shots=0"],
    "ways=3 is of episodes": ["RUN", "--ways=3"],
    "unknown way to tell classes by a few shots 'knn'": ["RUN", "--shots=1", "--how=knn"],
    "ask for fewer": ["RUN", "--shots=1000"],
    "is not the folder of a run": ["nothing"],
    "--config.seed=1 changes a config": ["RUN", "--config.seed=1"],
    "there is no such folder": ["RUN", "--out=nowhere/x.json"],
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_told_before_anything_is_written(run, tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        probe.main(["probe", *(str(run / "run") if arg == "RUN" else arg for arg in WRONG[said])])
    assert list(tmp_path.iterdir()) == []
