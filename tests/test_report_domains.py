"""What a report says of a run on several domains: each one's results, what chose the model, how far they are apart."""

import re

import numpy as np
import pytest
import tiny_shifted
import tiny_vectors
from sklearn.linear_model import LogisticRegression

from jtransfer import config as configs
from jtransfer import runs, train
from jtransfer.reporting import domains, page, results

SCHEDULE = {"schedule": "linear_schedule", "init_value": 0.0, "end_value": 3.0, "transition_steps": 4}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    config = tiny_shifted.config_of(folder)
    config.objective = [("task", {"on": ["source"]}), ("coral", {"weight": SCHEDULE})]
    train.run(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def text(adapted):
    return page.write(adapted).read_text()


def features(run, params, domain):
    x = np.load(run.parent / f"{domain}.npz")["x_train"][:48].astype(np.float64)
    for name in ("hidden1", "hidden2"):
        x = np.maximum(x @ params[name]["dense"]["kernel"] + params[name]["dense"]["bias"], 0)
    return x


def distance(one, other):
    """2 (1 − 2 err) on halves, by scikit-learn; the mean over ten cuts in halves."""
    found = []
    for seed in range(10):
        rng = np.random.default_rng(100 + seed)
        (a, b), (c, d) = (np.split(x[rng.permutation(len(x))], 2) for x in (one, other))
        both = np.concatenate([a, c])
        mean, scale = both.mean(0), np.where(both.std(0) > 0, both.std(0), 1)
        told = LogisticRegression(max_iter=10_000).fit((both - mean) / scale, np.arange(len(both)) >= len(a))
        errors = [(told.predict((b - mean) / scale) == 1).mean(), (told.predict((d - mean) / scale) == 0).mean()]
        found.append(2 * (1 - sum(errors)))
    return np.mean(found), np.std(found)


def test_domains_are_as_far_apart_as_their_features_before_and_after(adapted):
    run = runs.open(adapted)
    found = domains.describe(run)["domains"]
    assert (found["problem"], found["stage"], found["width"]) == ("", "hidden2", 8)
    assert found["examples"] == {"target": 48, "source": 48}
    (row,) = found["rows"]
    after = runs.open(adapted).variables()["params"]
    mean, spread = distance(features(adapted, after, "source"), features(adapted, after, "target"))
    assert abs(row["after"] - mean) <= 3 * spread + 0.1
    assert 0 <= row["before"] <= 2


def test_the_page_has_each_data_sets_result_and_what_chose_the_model(adapted, text):
    assert ">oracle<" not in text
    text = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    lines = runs.open(adapted).lines
    rows = results.describe(runs.open(adapted), lines, page.shown_metrics(runs.open(adapted), lines))["results"]
    assert [(row["data"], row["split"]) for row in rows] == [
        ("target", "test"),
        ("target", "validation"),
        ("source", "validation"),
    ]
    best = next(line for line in lines if line.get("event") == "best")["best_step"]
    told = next(line for line in lines if line.get("split") == "selection" and line["step"] == best)
    assert rows[2]["values"]["accuracy"] == told["source/accuracy"]
    assert {row["step"] for row in rows[1:]} == {best}
    for words in ("The results", "the best by the validation splits of the labelled streams", "proxy A-distance"):
        assert words in text
    assert "The terms of the objective" in text


def test_the_same_report_is_made_again(adapted, text):
    assert page.write(adapted).read_text() == text


def test_weights_follow_their_schedules(adapted):
    run = runs.open(adapted)
    schedule = results.terms.weights(run.config.objective)
    assert results._points(schedule["task"], 6) == [(0, 1.0)]
    assert results._points(schedule["coral"], 6) == [(step, min(0.75 * step, 3)) for step in range(7)]


def test_a_choice_by_the_targets_labels_is_marked(adapted):
    run = runs.open(adapted)
    lines = [line | ({"protocol": "oracle"} if line.get("split") == "test" else {}) for line in run.lines]
    found = results.describe(run, lines, [])
    assert found["oracle"]
    assert found["protocol"] == "the best by labels of the target that training does not use (oracle)"


def test_data_that_are_gone_are_one_line_and_the_rest_of_the_page_is_there(adapted, capsys):
    moved = (adapted.parent / "source.npz").rename(adapted.parent / "away.npz")
    try:
        text = page.write(adapted).read_text()
    finally:
        moved.rename(adapted.parent / "source.npz")
    assert "the domains are not compared: " in text
    assert "The results" in text
    assert "report: the domains are not compared: " in capsys.readouterr().err


def test_another_test_set_of_one_data_set_is_compared(tmp_path):
    config = tiny_vectors.config_of(tmp_path, steps=2)
    config.evals = [configs.evaluation("split", "test"), configs.evaluation("split", "train[:12]")]
    train.run(config, tmp_path / "run")
    run = runs.open(tmp_path / "run")
    found = domains.describe(run)["domains"]
    assert [row["name"] for row in found["rows"]] == ["train[:12]"]
    assert found["examples"] == {"target": 32, "train[:12]": 12}
    rows = results.describe(run, run.lines, page.shown_metrics(run, run.lines))["results"]
    assert [(row["data"], row["split"]) for row in rows] == [("target", "test"), ("target", "train[:12]")]


def test_a_run_on_one_domain_says_nothing_of_domains(tmp_path):
    config = tiny_vectors.config_of(tmp_path, steps=2)
    train.run(config, tmp_path / "run")
    assert domains.describe(runs.open(tmp_path / "run")) == {"domains": None}
